"""Classification of sentences and pairs of sentences, by the loss it is trained with."""
