#!/usr/bin/env bash
# The experiments on SmolLM2-135M-Instruct, by parts. Run it again after an interruption: what has a record is done, and
# a cell that was stopped goes on where it was. A CPU core takes hours to days; a GPU (OPTIONS="--device cuda") was not tried.
#
#   results/smollm2/run.sh MODEL.gguf DATA [zero sweep seeds adamw sensitivity board precision speed]
#
# MODEL.gguf: README.md here says how pip fetches it. DATA/<task>/{train,validation}.jsonl, or "" for the hub.
# zobench's environment active; OUT=results/smollm2; TASKS="sst2 copa" those of sweeps; BEST and OTHERS, blocks of `seeds`.
set -eu
model=$1 data=$2
shift 2
out=${OUT:-results/smollm2} tasks=${TASKS:-sst2,copa}
tasks=${tasks// /,}
sizes=(--preset paper --set num_train=512 --set num_dev=100 --set num_test=400)
common=(--model "$model" ${data:+--data-dir "$data"} "${sizes[@]}" ${OPTIONS:-})
steps=(--set steps=300 --set eval_every=150 --set further_lrs=2)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

zero() { zobench run "${common[@]}" --tasks all --estimator zero_shot --results "$out/zero"; }

sweep() { # each block alone, one grid of rates for all, MeZO
  zobench run "${common[@]}" "${steps[@]}" --set speed_steps=0 --tasks "$tasks" --estimator mezo --selector layer:0-29 \
    --seeds 0 --lr 3e-4,1e-3 --results "$out/sweep"
}

seeds() { # further seeds of the best blocks and of others; each seed chooses its rate on dev, as seed 0 did
  zobench run "${common[@]}" "${steps[@]}" --set speed_steps=0 --tasks "$tasks" --estimator mezo --lr 3e-4,1e-3 \
    --selector "$(printf 'layer:%s,' ${BEST:-17 12 19 8 21} ${OTHERS:-11 0 5 10 29} | sed 's/,$//')" --seeds 1,2 --results "$out/sweep"
}

adamw() { # the same sweep with gradients, in the same batches
  zobench run "${common[@]}" --set batch_size=16 --set steps=100 --set eval_every=50 --set further_lrs=2 --set speed_steps=0 --tasks "$tasks" \
    --estimator adamw --selector layer:0-29 --seeds 0 --lr 1e-4,3e-4 --results "$out/adamw"
}

sensitivity() { # which block the loss answers to, and how steadily, without training
  zobench analyze sensitivity --model "$model" ${data:+--data-dir "$data"} ${OPTIONS:-} --tasks "$tasks" \
    --json "$out/sensitivity.json" --out "$out/sensitivity.md" --plot "$out/sensitivity.png"
}

board() { # all weights, each rule's block, one that no rule chooses
  zobench run "${common[@]}" "${steps[@]}" --set batch_size=16 --tasks sst2,copa,rte,cb,wsc,boolq --seeds 0,1,2 --results "$out/board" \
    --estimator zero_shot,adamw,mezo,lora_zo,sparse_mezo,fzoo --selector all,first_outlier,max_jump,layer:20
}

precision() { # is dominance partly rounding? 16 bits with arithmetic restore, with exact restore, float32
  for how in "--dtype float16 --set restore=arithmetic" "--dtype float16 --set restore=exact" "--dtype float32"; do
    zobench run "${common[@]}" "${steps[@]}" $how --set speed_steps=0 --tasks "$tasks" --estimator mezo \
      --selector all,layer:11 --seeds 0,1,2 --lr 3e-5,1e-4,3e-4 --results "$out/precision"
  done
}

speed() { zobench bench --model "$model" ${data:+--data-dir "$data"} --layer 11 --tasks sst2,copa --json "$out/speed.json" --out "$out/speed.md"; }

for part in "${@:-sweep}"; do "$part"; done
