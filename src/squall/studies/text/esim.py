"""ESIM, the enhanced sequential inference model of pairs of sentences.

Source: Chen, Zhu, Ling, Wei, Jiang, Inkpen, *Enhanced LSTM for natural language inference*, ACL
2017; the model without parse trees. Equations are numbered as there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from squall.studies.text.bilstm import BiLstm
from squall.studies.text.embeddings import embedding_layer
from squall.studies.text.words import PADDING_ID

__all__ = ["Esim", "align"]


class Esim(nn.Module):
    """Two LSTMs with an alignment of the words of both texts between them.

    - a' = BiLSTM(a), b' = BiLSTM(b) (1, 2)
    - a~, b~: each word as a mean of the other text's words, see `align` (11 to 13)
    - m_a = [a', a~, a' - a~, a' * a~], likewise m_b (14, 15)
    - v_a = BiLSTM(ReLU(W m_a + w)), likewise v_b (section 3.3)
    - v = [mean of v_a, maximum of v_a, mean of v_b, maximum of v_b] over the words (18 to 20)
    - logits = U tanh(V v + z) + u

    Args:
        embeddings: (V, D) word vectors, that of padding first; they are copied.
        classes: C.
        hidden: H, of each direction of an LSTM and of the two layers W and V.
        dropout: share of the inputs of the first LSTM, of the second, of V and of U that are set to
            0 in training.
        train_embeddings: whether the word vectors are trained too.

    Raises:
        ValueError: the embeddings have another shape.

    The initial weights and the dropout are drawn from torch's global generator.

    Convention: the sizes, the dropout and the training of the word vectors are the paper's; where
    its "all feed-forward connections" have dropout, and what the weights start from, is taken from
    its authors' program: weights of an LSTM orthogonal for each gate, those of the layers normal
    with standard deviation 0.01, biases 0. The paper's maximum is over the words, as here; its
    program's is over padding too, as 0. Lan and Xu's toolkit (2018) has one LSTM for both
    directions and ReLU instead of tanh.

    Torch's LSTM has two biases where one would do. With D = H = 300 and 3 classes there are
    4,331,103 parameters beside the word vectors, 4,326,303 with single biases; the paper says
    4.3 M.
    """

    def __init__(
        self,
        embeddings: Tensor,
        classes: int,
        *,
        hidden: int = 300,
        dropout: float = 0.5,
        train_embeddings: bool = True,
    ) -> None:
        super().__init__()
        self.embedding = embedding_layer(embeddings, trainable=train_embeddings)
        self.encoder = BiLstm(embeddings.shape[1], hidden)
        self.projection = nn.Linear(8 * hidden, hidden)
        self.composition = BiLstm(hidden, hidden)
        self.hidden_layer = nn.Linear(8 * hidden, hidden)
        self.output_layer = nn.Linear(hidden, classes)
        self.dropout = nn.Dropout(dropout)
        self.apply(_draw_weights)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The logits of pairs of texts.

        Args:
            a: (B, L) int64 numbers of words, each row with at least one, then zeros.
            b: (B, M), likewise.

        Returns:
            (B, C).
        """
        mask_a, mask_b = a != PADDING_ID, b != PADDING_ID
        encoded_a, encoded_b = self._encode(a, mask_a), self._encode(b, mask_b)
        aligned_a, aligned_b = align(encoded_a, encoded_b, mask_a, mask_b)
        pooled_a = self._compose(encoded_a, aligned_a, mask_a)
        pooled_b = self._compose(encoded_b, aligned_b, mask_b)
        pooled = self.dropout(torch.cat([pooled_a, pooled_b], 1))  # (B, 8 H)
        logits: Tensor = self.output_layer(self.dropout(self.hidden_layer(pooled).tanh()))
        return logits

    def _encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = self.encoder(self.dropout(self.embedding(ids)), mask)
        return states

    def _compose(self, encoded: Tensor, aligned: Tensor, mask: Tensor) -> Tensor:
        """Mean and maximum over the words of a text, (B, 4 H)."""
        enhanced = torch.cat([encoded, aligned, encoded - aligned, encoded * aligned], 2)
        inputs = self.dropout(self.projection(enhanced).relu())
        states = self.composition(inputs, mask)  # (B, L, 2 H)
        absent = ~mask.unsqueeze(2)
        mean = states.masked_fill(absent, 0.0).sum(1) / mask.sum(1, keepdim=True)
        return torch.cat([mean, states.masked_fill(absent, -torch.inf).amax(1)], 1)


def align(a: Tensor, b: Tensor, mask_a: Tensor, mask_b: Tensor) -> tuple[Tensor, Tensor]:
    """Each word of a text as a mean of the other's words, weighted by their likeness (11 to 13).

    With e_ij = a_i . b_j: a~_i = sum_j softmax_j(e_ij) b_j and b~_j = sum_i softmax_i(e_ij) a_i.

    Args:
        a, b: (B, L, D) and (B, M, D).
        mask_a, mask_b: (B, L) and (B, M), true where there is a word.

    Returns:
        (B, L, D) and (B, M, D); at padding of no meaning, but finite.
    """
    scores = a @ b.mT  # (B, L, M)
    to_b = scores.masked_fill(~mask_b.unsqueeze(1), -torch.inf).softmax(2)
    to_a = scores.masked_fill(~mask_a.unsqueeze(2), -torch.inf).softmax(1)
    return to_b @ b, to_a.mT @ a


def _draw_weights(module: nn.Module) -> None:
    if isinstance(module, nn.LSTM | nn.Linear):
        for parameter in module.parameters():
            if parameter.ndim == 1:
                nn.init.zeros_(parameter)
            elif isinstance(module, nn.LSTM):
                for gate in parameter.detach().chunk(4):
                    nn.init.orthogonal_(gate)
            else:
                nn.init.normal_(parameter, std=0.01)
