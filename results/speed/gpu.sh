#!/usr/bin/env bash
# On one GPU, without a download: steps of MeZO on LLaMA2-7B and Qwen3-8B of random weights over rows of the lengths in the
# package, in the official order and in ours, on the five tasks of the paper's Tables 4 and 13: all weights, the paper's one
# layer, the weights that Sparse MeZO moves, and 1 % of the channels of that layer's MLP; all weights and the layer with CUDA
# graphs too; gigabytes and teraflops a second beside what the card can do. A small shape (ci) shows what graphs are for:
# there a GPU waits for launches. Then the tests that need a GPU. Writes gpu-<shape>.md, gpu-<shape>.json and gpu-tests.txt.
#
#   results/speed/gpu.sh                      # cuda, all shapes, at most ten minutes
#   SHAPES=ci TASKS=copa STEPS=1 WARMUP=1 OUT=/tmp/speed results/speed/gpu.sh    # a look at it
#
# Each large shape has MINUTES, of which PLANNED are for steps: as many of STEPS are taken as they have room for, by the
# account that a dry run makes of a run, which is printed before the first. The small one has a third. GRAPHS= leaves CUDA
# graphs out.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python} OUT=${OUT:-results/speed} DEVICE=${DEVICE:-cuda} SHAPES=${SHAPES:-"llama2-7b qwen3-8b ci"}
TASKS=${TASKS:-copa,sst2,wsc,cb,drop} STEPS=${STEPS:-10} WARMUP=${WARMUP:-2} MINUTES=${MINUTES:-3.4} PLANNED=${PLANNED:-2.5}
GRAPHS=${GRAPHS---cuda-graphs}
declare -A LAYER=([llama2-7b]=1 [qwen3-8b]=6)  # the paper's dominant layers, which `--layer` is where nothing is said
mkdir -p "$OUT"
status=0
for shape in $SHAPES; do
  read -r minutes planned < <(awk -v m="$MINUTES" -v p="$PLANNED" -v s="$shape" \
    'BEGIN { few = s == "ci" ? 3 : 1; print m / few, p / few }')
  echo "+ bench of $shape on $DEVICE" >&2
  made=$(mktemp)
  if timeout "${minutes}m" $PYTHON -m zobench bench --random-weights "$shape" --device "$DEVICE" --tasks "$TASKS" \
    --also sparse_mezo/all,mezo/outlier_channels:top --set "outlier_channels.index=${LAYER[$shape]:-1}" \
    --steps "$STEPS" --warmup "$WARMUP" --minutes "$planned" $GRAPHS ${DTYPE:+--dtype "$DTYPE"} \
    --json "$OUT/gpu-$shape.json" > "$made"; then
    mv "$made" "$OUT/gpu-$shape.md" && cat "$OUT/gpu-$shape.md"
  else
    echo "bench of $shape failed, or took more than $minutes minutes: nothing is written of it" >&2
    rm -f "$made" && status=1
  fi
done
echo "+ tests that need a GPU" >&2
timeout "${TESTS_MINUTES:-2}m" $PYTHON -m pytest -q -p no:cacheprovider -m gpu tests/kernels ${PYTEST_ARGUMENTS:-} \
  | tee "$OUT/gpu-tests.txt" || status=1
exit $status
