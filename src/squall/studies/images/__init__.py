"""Classification of images, by the loss it is trained with; neural collapse on the way."""
