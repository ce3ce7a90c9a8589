"""What a person reads of a result: tables, the page, its pictures."""
