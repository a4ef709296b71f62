#!/usr/bin/env bash
# On one GPU, without a download: steps of MeZO on LLaMA2-7B and Qwen3-8B of random weights over rows of the lengths in the
# package, official and ours, over all weights and the paper's one layer, on the five tasks of the paper's Tables 4 and 13;
# then the tests that need a GPU. Writes gpu-<shape>.md, gpu-<shape>.json and gpu-tests.txt beside this file.
#
#   results/speed/gpu.sh                      # cuda, both shapes; at most ten minutes, of which each shape has MINUTES
#   SHAPES=ci TASKS=copa STEPS=1 WARMUP=1 OUT=/tmp/speed results/speed/gpu.sh    # a look at it
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python} OUT=${OUT:-results/speed} DEVICE=${DEVICE:-cuda} SHAPES=${SHAPES:-"llama2-7b qwen3-8b"}
TASKS=${TASKS:-copa,sst2,wsc,cb,drop} STEPS=${STEPS:-10} WARMUP=${WARMUP:-3} MINUTES=${MINUTES:-4}
mkdir -p "$OUT"
status=0
for shape in $SHAPES; do
  echo "+ bench of $shape on $DEVICE" >&2
  made=$(mktemp)
  if timeout "${MINUTES}m" $PYTHON -m zobench bench --random-weights "$shape" --device "$DEVICE" --tasks "$TASKS" \
    --steps "$STEPS" --warmup "$WARMUP" ${DTYPE:+--dtype "$DTYPE"} --json "$OUT/gpu-$shape.json" > "$made"; then
    mv "$made" "$OUT/gpu-$shape.md" && cat "$OUT/gpu-$shape.md"
  else
    echo "bench of $shape failed, or took more than $MINUTES minutes: nothing is written of it" >&2
    rm -f "$made" && status=1
  fi
done
echo "+ tests that need a GPU" >&2
$PYTHON -m pytest -q -p no:cacheprovider -m gpu tests/kernels ${PYTEST_ARGUMENTS:-} | tee "$OUT/gpu-tests.txt" || status=1
exit $status
