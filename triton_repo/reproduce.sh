#!/usr/bin/env bash
# Train, export, measure the starter versions again; `parley publish` then makes them the next versions.
# Usage: bash triton_repo/reproduce.sh [recordings/manifest.jsonl [noise.flac others.txt]]
#   noise.flac   what is heard where the bot answers, 8 kHz; its first half is trained on
#   others.txt   sentences that are no request, one a line, lower case
# Versions 2 and 3 of barista_stt need all three. Everything resumes: run it again after an interruption.
set -euo pipefail
[ $# -ne 2 ] || { echo "reproduce.sh: noise.flac without others.txt: give both, or neither" >&2; exit 2; }
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1
parley=.venv/bin/parley
recordings=()
[ $# -ge 1 ] && recordings=(--recordings "$1" --licence "Apache-2.0 (Picovoice speech-to-intent-benchmark); synthetic speech")

$parley dataset --bot barista --out datasets/barista --synthetic 4500 --seed 7 "${recordings[@]}"
$parley train stt --bot barista --data datasets/barista --out runs/stt-barista --seed 7 --steps 10000 --resume
for bot in barista bank; do
    $parley train nlu --bot "$bot" --out "runs/nlu-$bot" --seed 7 --resume
    $parley train nlg --bot "$bot" --out "runs/nlg-$bot" --seed 7 --resume
done
# The starter's voice trained for 27 minutes of one core, which were 5,913 steps.
$parley train tts --bot barista --out runs/tts-barista --seed 7 --steps 5900 --resume
for run in stt-barista nlu-barista nlg-barista tts-barista nlu-bank nlg-bank; do
    $parley export "${run%%-*}" "runs/$run"
    $parley evaluate "${run%%-*}" "runs/$run"
done
[ $# -ge 3 ] && bash triton_repo/reproduce_barista_stt.sh "$@"
echo "Publish with: parley publish runs/stt-barista runs/nlu-barista ..."
