# A hub of models on this machine's loopback, with a model and an adapter on it. Sourced after functions.sh and
# before mount_it.
#
#   H     its folder, a folder a model; files beside them say what goes wrong, see hub.py
#   hub   its process
H=$T/hub
mkdir -p "$H"
python3 tests/hub/tiny.py "$H/someorg/verysecret-9b" someorg/verysecret-9b
python3 tests/hub/tiny.py "$H/someorg/verysecret-lora" someorg/verysecret-lora someorg/verysecret-9b
python3 tests/hub/hub.py "$H" "$T/port" "$T/requests" &
hub=$!
on_exit 'kill $hub'
eventually 20 test -s "$T/port"
export HF_ENDPOINT=http://127.0.0.1:$(cat "$T/port")
