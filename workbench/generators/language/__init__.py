"""Language models that write rows, prompted or fine-tuned."""
