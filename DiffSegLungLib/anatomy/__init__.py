"""Where the lungs are and what lies in them: mask, borders, thirds, vessels, airways, cavities."""
