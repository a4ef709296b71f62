"""The embedded world: a small model and the data of its tasks, for runs without network, GPU or `--model`.

The model (model.py) is a LLaMA of 1.9 M parameters, trained on the text of a small world (text.py) by `python -m
zobench_world.pretrain`; MODEL_CARD.md beside its weights says how. The data (tasks.py) are of the same world, in
wordings that the text does not have.
"""
