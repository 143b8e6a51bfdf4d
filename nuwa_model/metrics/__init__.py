"""How good pictures are, as pure functions of tensors.

The arithmetic is torchmetrics' wherever it has it (D9); these modules fix ranges, shapes and
names. A number that depends on a network's features is computed from the features: who extracted
them is the caller's to say, and to report. Needs torchmetrics, which the extra ``pipelines``
brings.
"""
