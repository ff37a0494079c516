"""Tables for a paper in LaTeX, in the style of booktabs, with everything escaped."""

from __future__ import annotations

from collections.abc import Sequence

_SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"}
_SPECIAL |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
_SPECIAL |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''"}
_SPECIAL |= {"[": "{[}", "*": "{*}"}  # at the start of a row they would be read as the options of the line break above
_SPECIAL |= {"−": "$-$", "±": r"$\pm$", "×": r"$\times$", "²": r"\textsuperscript{2}", "–": "--", "→": r"$\to$"}
_SPECIAL |= {
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "µ": r"\textmu{}",
    "…": r"\ldots{}",
    "°": r"$^\circ$",
}


def escaped(text: str) -> str:
    """Text as LaTeX prints it; line ends become spaces."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))


def table_tex(header: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str, label: str) -> str:
    r"""A floating table; it needs \usepackage{booktabs}.

    Args:
        rows: each as long as the header; the first column is to the left, the others to the right.
        caption: a sentence.
        label: "tab:NAME", for \ref.
    """
    lines = [" & ".join(map(escaped, row)) + r" \\" for row in rows]
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(caption)}}}",
            rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
            r"\toprule",
            " & ".join(map(escaped, header)) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )
