"""Pre-training of the model that comes with the package: `python -m zobench_world.pretrain --help`.

recipe      what the weights depend on, and the two presets
tokenizer   byte-level BPE trained on the text; documents -> tokens with a weight each
packing     documents -> rows -> what goes through the model
generated   the text of the embedded model, made as it is needed
corpus      plain text from a file, as a memory-mapped file of tokens
model       the Llama, its optimiser and its weighted loss
checkpoint  weights, optimiser and counts on disk, whole or not at all
evaluation  the validation loss and the activations of every block
feed        batches made ahead, in a thread
loop        the steps, the log, resuming
export      the finished model folder
job         all of it, from an empty folder to a finished model
progress    what a user sees
command     the options; all else is reachable without them
"""
