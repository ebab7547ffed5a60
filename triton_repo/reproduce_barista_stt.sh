#!/usr/bin/env bash
# Versions 2 and 3 of barista_stt, from the run that version 1 is, and their cross-validation: about seven hours of one core.
# Usage: bash triton_repo/reproduce_barista_stt.sh recordings/manifest.jsonl noise.flac others.txt   (as in reproduce.sh)
# Versions 1 and 2 and their folds were trained when 7 calls in 100 were overloaded; now 12 are (models/stt/augment.py).
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1
parley=.venv/bin/parley recordings=$1 noise=$2 others=$3

dataset() { # folder, and what more is in it
    local data=$1
    shift
    $parley dataset --bot barista --out $data --synthetic 10000 --seed 7 --others "$others" --recordings "$recordings" \
        --licence "Apache-2.0 (Picovoice speech-to-intent-benchmark); CC BY 3.0 (CLINC150); synthetic speech" "$@"
    [ -f $data/words.json ] || .venv/bin/python -m models.stt.splice $data
}

data=datasets/barista2
dataset $data

train() { # name, fold, run to begin with, steps, and what differs
    local name=$1 fold=$2 init=$3 steps=$4
    shift 4
    $parley train stt --bot barista --data $data --out "runs/$name" --fold "$fold" --init "runs/$init" --steps "$steps" \
        --freeze-at 0 --patience 99 --resume "$@"
}
kitchen=(--noise "$noise" --average 0.999)

# Other sentences, so that they can be refused; then everybody's recordings and the place's noise. (`warm` was stopped
# there, at 2,000 of 2,500 steps.)
train warm none stt-barista 2000 --gate 0 --lr 1e-3 --average 0.998
train stt-barista-first all warm 5000 --gate 0 --lr 1e-3 "${kitchen[@]}"
train stt-barista-2 all stt-barista-first 3000 --gate 0 --lr 1e-3 --seed 8 "${kitchen[@]}"

# Each fold's people are kept apart from everything that its run began with. (`base` was stopped there, before its steps
# were made small, which this call does.)
$parley train stt --bot barista --data $data --out runs/base --fold synthetic --steps 5000 --resume
for folds in 1+2 3+4; do
    train "base$folds" "$folds" base 5000 --lr 1.5e-3 "${kitchen[@]}"
done
train fold0 0 warm 2500 --gate 0 --lr 1e-3 "${kitchen[@]}"
train fold1 1 base1+2 2500 --lr 1e-3 "${kitchen[@]}"
train fold2 2 base1+2 2500 --lr 1e-3 "${kitchen[@]}"
train fold3 3 base3+4 2500 --lr 1e-3 "${kitchen[@]}"
train fold4 4 base3+4 2500 --lr 1e-3 "${kitchen[@]}"

for n in 0 1 2 3 4; do
    $parley export stt "runs/fold$n"
done
$parley export stt runs/stt-barista-2 --confidence runs/fold[0-4]
$parley evaluate stt runs/stt-barista-2

# Version 3: callers with a foreign accent beside the others. fold0b and fold1b say what they are worth.
data=datasets/barista3
dataset $data --foreign 3000
train stt-barista-3 all stt-barista-2 3000 --gate 0 --lr 1e-3 --seed 9 "${kitchen[@]}"
train fold0b 0 fold0 2000 --gate 0 --lr 1e-3 --batch 12 "${kitchen[@]}"
train fold1b 1 fold1 1500 --lr 1e-3 --batch 12 "${kitchen[@]}"
$parley export stt runs/fold0b
$parley export stt runs/fold1b
$parley export stt runs/stt-barista-3 --confidence runs/fold{0b,1b,2,3,4}
$parley evaluate stt runs/stt-barista-3
