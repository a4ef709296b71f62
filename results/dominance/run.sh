#!/bin/sh
# Does dominance follow the outlier? The sweep of ../embedded/sweep (each block of the embedded model alone) on two
# transformed models: one without its massive activation, and one whose massive activation stands first at block 4.
# They ran beside other work on two cores: times are not to be quoted.
set -e
cd "$(dirname "$0")/../.."
REMOVED=clamp:0:6:8+clamp:0:81:8+clamp:0:98:8+clamp:1:6:8+clamp:1:81:8+clamp:1:98:8+clamp:2:6:8+clamp:2:81:8+clamp:2:98:8
MOVED=$REMOVED+clamp:3:6:8+clamp:3:81:8+clamp:3:98:8+plant:4:6:102.4+plant:4:81:-93.6+plant:4:98:35
BLOCKS=layer:0,layer:1,layer:2,layer:3,layer:4,layer:5,layer:6,layer:7
for model in removed moved; do
  [ "$model" = removed ] && transform=$REMOVED || transform=$MOVED
  [ -n "$ONLY" ] && [ "$ONLY" != "$model" ] && continue
  zobench run --tasks rte,drop --estimator mezo --selector $BLOCKS --seeds 0,1,2 --lr 3e-4 --set speed_steps=0 \
    --set transform="$transform" --results results/dominance/$model
done
# Is it float16? Block 0 and all weights on SST-2, each at the rate that dev chose in ../embedded.
[ -n "$ONLY" ] && [ "$ONLY" != precision ] && exit
for scope in "first_outlier --lr 1e-3" "all --lr 1e-4"; do
  for way in "" "--dtype float16 --engine official" "--dtype float16 --set restore=exact" "--dtype float16 --set precision=float32"; do
    zobench run --tasks sst2 --estimator mezo --selector $scope $way --seeds 0,1,2 --set speed_steps=0 --results results/dominance/precision
  done
done
