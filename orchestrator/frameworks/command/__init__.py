"""Any program that prints figures: what it is asked, and what it says."""
