"""From records to tables, figures, comparisons and one HTML page. Knows no experiment."""
