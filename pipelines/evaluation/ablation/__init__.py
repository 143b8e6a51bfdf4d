"""Tokenizers compared as in NÜWA's Table 4, in small, each trained with several seeds."""
