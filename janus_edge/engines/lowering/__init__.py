"""Rewrites of canonical graphs into what one target runs best: one rewrite per file."""
