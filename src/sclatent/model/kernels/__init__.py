"""Compiled passes over rows of counts and logits, and the threads that share them."""
