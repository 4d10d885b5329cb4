"""What interface.py has beside it."""


def load():
    return {"anger": [1.0, 2.0], "calm": [-1.0, 0.5]}


def divide(a, b):
    return a / b
