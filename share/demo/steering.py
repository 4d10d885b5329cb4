"""steering: directions in a model's hidden space, and what adding them does.

A small stand-in for a real model, so that it runs anywhere: 64 hidden dimensions, six words as
output, and vectors that are made, as in practice, from the difference of two sets of prompts'
activations.

    names()              the vectors that there are
    vector(name)         one of them, a numpy array of 64 numbers
    activations(prompt)  the hidden state after a prompt
    steer(prompt, name, strength)   the probability of each word, with the vector added
"""
import zlib

import numpy as np

WORDS = ["good", "bad", "yes", "no", "calm", "angry"]
SIZE = 64

_random = np.random.default_rng(7)
_unembed = np.linalg.qr(_random.normal(size=(SIZE, SIZE)))[0][: len(WORDS)]

# What each vector was made to do, as weights on the words, and how much noise was left in it.
_MADE = {
    "sentiment": ({"good": 1.0, "bad": -1.0}, 0.10),
    "agreement": ({"yes": 1.0, "no": -1.0}, 0.10),
    "anger": ({"angry": 1.0, "calm": -1.0, "bad": 0.6}, 0.15),
    "placebo": ({}, 1.0),
}


def names():
    """The vectors that there are."""
    return sorted(_MADE)


def vector(name):
    """A vector of length 1."""
    weights, noise = _MADE[name]
    v = sum((w * _unembed[WORDS.index(word)] for word, w in weights.items()), np.zeros(SIZE))
    own = np.random.default_rng(zlib.crc32(name.encode()))
    v = v + noise * own.normal(size=SIZE) / np.sqrt(SIZE)
    return v / np.linalg.norm(v)


def activations(prompt):
    """The hidden state after a prompt; the same prompt gives the same state."""
    return np.random.default_rng(zlib.crc32(prompt.encode())).normal(size=SIZE) * 0.3


def steer(prompt, name=None, strength=0.0):
    """The probability of each of WORDS after the prompt, with strength times the vector added."""
    h = activations(prompt)
    if name is not None:
        h = h + strength * vector(name)
    logits = _unembed @ h
    p = np.exp(logits - logits.max())
    return dict(zip(WORDS, p / p.sum()))
