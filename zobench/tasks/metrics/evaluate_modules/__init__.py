"""The metrics as `evaluate` modules: `evaluate.load("<this folder>/f1.py")`. Each imports evaluate and datasets."""
