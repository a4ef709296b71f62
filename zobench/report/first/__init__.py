"""The first screen of a board: which method is better, by how much, how surely, how fast, at what memory.

`lines` has the numbers of a method's line, `words` the sentences, `page` both as Markdown. The terminal (cli/) and the
page in HTML show the same lines. Light: no torch.
"""
