"""Networks: tensors in, tensors out; no files of images, no crops, no progress."""
