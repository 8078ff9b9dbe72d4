"""The colours of categories and phases, in figures, on the page and in the atlas: Okabe and Ito's (2008).

Their palette was made for colour-blind readers. Only strings live here, so that any room may import it.
"""

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
CATEGORIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, YELLOW, BLACK)
PHASE_COLORS = {"G1": GREEN, "S": VERMILLION, "G2M": BLUE}
