#!/usr/bin/env bash
# The digits bot: the runs that leave one speaker out, and versions that learned from everybody. About three hours of one
# core, after reproduce.sh with all its arguments. None of them is a starter version: too many digits are heard wrongly.
# Usage: bash triton_repo/reproduce_digits.sh digits/audio recordings/manifest.jsonl others.txt
#   digits/audio   single digits named <digit>_<speaker>_<take>.flac (docs/quality-digits.md)
#   the others     as reproduce.sh says
# What was measured began with a `base` trained without --alone, and with gj and ln trained before the digits had
# several forms; these lines have not been run in one go.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1
parley=.venv/bin/parley digits=$1 recordings=$2 others=$3
data=datasets/digits

.venv/bin/python -m models.digits "$digits" --also "$recordings" --out datasets/digits.jsonl
$parley dataset --bot digits --recordings datasets/digits.jsonl --synthetic 4000 --seed 7 --others "$others" --alone --out $data \
    --licence "CC BY-SA 4.0 (Free Spoken Digit Dataset); Apache-2.0 (Picovoice speech-to-intent-benchmark); \
CC BY 3.0 (CLINC150); synthetic speech"
[ -f $data/words.json ] || .venv/bin/python -m models.stt.splice $data

train() { # out, fold, beginning, learning rate, steps, and what differs
    local out=$1 fold=$2 init=$3 lr=$4 steps=$5
    shift 5
    $parley train stt --bot digits --data $data --out "runs/$out" --fold "$fold" --init "runs/$init" --lr "$lr" \
        --steps "$steps" --gate 0 --freeze-at 0 --average 0.998 --patience 99 --resume "$@"
}
people=without:george+jackson+lucas+nicolas
train digits-base $people stt-barista-2 1e-3 1800             # the bot's sentences by synthetic callers and by the coffee callers
train digits-gj without:george+jackson digits-base 1e-3 1500  # and two speakers of digits: a beginning for two folds
train digits-ln without:lucas+nicolas digits-base 1e-3 1500
train digits-george without:george digits-gj 8e-4 1000        # and a third: the fold
train digits-jackson without:jackson digits-gj 8e-4 1000
train digits-lucas without:lucas digits-ln 8e-4 1000
train digits-nicolas without:nicolas digits-ln 8e-4 1000
for who in george jackson lucas nicolas; do
    $parley export stt runs/digits-$who
done

train stt-digits all digits-george 8e-4 1500 --seed 8
for family in nlu nlg; do
    [ -d runs/$family-digits/bundle ] || $parley train $family --bot digits --out runs/$family-digits --seed 7
done
[ -d runs/tts-digits/bundle ] ||
    $parley train tts --bot digits --out runs/tts-digits --init runs/tts-barista --steps 800 --learning-rate 3e-4 --seed 7
$parley export stt runs/stt-digits --confidence runs/digits-{george,jackson,lucas,nicolas}
for family in nlu nlg tts; do
    $parley export $family runs/$family-digits
done
for family in stt nlu nlg tts; do
    $parley evaluate $family runs/$family-digits
done
echo "Publish with: parley publish runs/stt-digits runs/nlu-digits runs/nlg-digits runs/tts-digits"
