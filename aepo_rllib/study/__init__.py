"""What a study is, what is measured on its trials, and the tables, figures and pages that come of them."""
