"""Studies beside speech, on the same losses and scoring: tables of numbers, and two spirals."""
