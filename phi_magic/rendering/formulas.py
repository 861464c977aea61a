r"""Formulas in an answer: where they are, and which of them may reach a typesetter.

A typesetter is a small programming language: in MathJax ``\href`` makes links, ``\mmlToken`` loads pictures, ``\def``
changes every later formula of the page; on the way to PDF, LaTeX itself reads files (``\input``). So only what is
known to draw passes: a formula with any command that is not listed here is shown as its source.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.utils import EnvType

# Longer or deeper formulas, and those beyond a sum, are shown as source: a typesetter's time grows faster than they do.
LONGEST = 2000
MOST_LINES = 100
DEEPEST = 24
MOST_IN_ALL = 20_000

# A body ends at the next delimiter of any kind, so all scans together pass over a text only once.
_BODY = rf"(?:[^$\\`]|\\[^()\[\]$`]){{1,{LONGEST}}}"
_FORMULA = re.compile(
    rf"\$\$(?P<dollars>{_BODY})\$\$"
    rf"|\$(?!\s)(?P<dollar>{_BODY})(?<!\s)\$(?!\d)"
    rf"|\\\[(?P<bracket>{_BODY})\\\]"
    rf"|\\\((?P<paren>{_BODY})\\\)",
)
# "$5 is more than 3$": an amount and words, not a formula.
_AMOUNT = re.compile(r"\d[\d.,]*\s+[^\W\d_]{2,}")
_BLOCK_START = re.compile(r"\$\$|\\\[|\\begin\{((?:align|equation|gather)\*?)\}")

_COMMAND = re.compile(r"\\([A-Za-z]+|.)", re.DOTALL)
_ENVIRONMENT = re.compile(r"\\(begin|end)\s*\{([^{}]*)\}")
# ``^^5c`` is a backslash to LaTeX; ``%`` would comment the end of the formula away, ``#`` belongs to macros.
_NEVER = re.compile(r"\^\^|[%#$`]|\n\s*\n")
# The columns of an array are letters: ``*{99999999}{c}`` would ask for as many.
_COLUMNS = re.compile(r"\\begin\s*\{array\}(?!\s*\{[lcr| ]*\})")

SYMBOLS = frozenset("\\,;:!>|{}%&#_ \n")
ENVIRONMENTS = frozenset(
    "aligned array bmatrix Bmatrix cases dcases gathered matrix pmatrix smallmatrix split substack"
    " vmatrix Vmatrix".split()
)
COMMANDS = frozenset(
    """
    alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa varkappa lambda mu nu xi omicron pi
    varpi rho varrho sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon
    Phi Psi Omega digamma aleph beth gimel daleth ell hbar hslash imath jmath wp Re Im Bbbk eth mho nabla partial infty
    emptyset varnothing angle measuredangle sphericalangle triangle square blacksquare Box Diamond diamond lozenge
    bigstar star clubsuit diamondsuit heartsuit spadesuit flat natural sharp surd top bot prime backprime complement
    checkmark degree dagger ddagger S circledR yen maltese
    sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh coth exp log ln lg det dim deg gcd hom ker arg max min
    sup inf lim limsup liminf injlim projlim varlimsup varliminf Pr mod bmod pmod pod operatorname limits nolimits
    sum prod coprod int iint iiint oint smallint bigcup bigcap bigsqcup bigvee bigwedge bigodot bigoplus bigotimes
    biguplus
    frac dfrac tfrac cfrac binom dbinom tbinom sqrt root of over atop choose overset underset stackrel overbrace
    underbrace overline underline overrightarrow overleftarrow overleftrightarrow underrightarrow underleftarrow
    widehat widetilde hat tilde bar vec dot ddot dddot ddddot acute grave breve check mathring boxed cancel bcancel
    xcancel not phantom hphantom vphantom smash substack sideset xrightarrow xleftarrow
    pm mp times div cdot cdots ldots dots dotsb dotsc dotsi dotsm dotso vdots ddots ast circ bullet oplus ominus otimes
    oslash odot cap cup uplus sqcap sqcup vee wedge land lor lnot neg setminus smallsetminus wr amalg bigcirc
    bigtriangleup bigtriangledown triangleleft triangleright ltimes rtimes leftthreetimes rightthreetimes
    le leq leqslant ge geq geqslant ne neq lt gt ll gg lll ggg equiv sim simeq approx approxeq cong propto varpropto
    doteq triangleq prec succ preceq succeq preccurlyeq succcurlyeq subset supset subseteq supseteq subsetneq supsetneq
    nsubseteq nsupseteq sqsubset sqsupset sqsubseteq sqsupseteq in ni notin owns mid nmid parallel nparallel perp vdash
    dashv models vDash Vdash asymp bowtie smile frown therefore because colon coloneqq eqqcolon nless ngtr nleq ngeq
    nsim ncong lesssim gtrsim lessgtr gtrless trianglelefteq trianglerighteq between pitchfork
    forall exists nexists to gets mapsto longmapsto implies impliedby iff leftarrow rightarrow leftrightarrow uparrow
    downarrow updownarrow Leftarrow Rightarrow Leftrightarrow Uparrow Downarrow Updownarrow longleftarrow
    longrightarrow longleftrightarrow Longleftarrow Longrightarrow Longleftrightarrow hookleftarrow hookrightarrow
    leftharpoonup leftharpoondown rightharpoonup rightharpoondown rightleftharpoons leftrightharpoons nearrow searrow
    swarrow nwarrow rightsquigarrow leadsto circlearrowleft circlearrowright curvearrowleft curvearrowright
    nleftarrow nrightarrow nRightarrow nLeftarrow twoheadrightarrow rightarrowtail
    left right middle big Big bigg Bigg bigl Bigl biggl Biggl bigr Bigr biggr Biggr bigm Bigm biggm Biggm
    langle rangle lbrace rbrace lbrack rbrack lfloor rfloor lceil rceil lvert rvert lVert rVert vert Vert backslash
    lgroup rgroup lmoustache rmoustache ulcorner urcorner llcorner lrcorner
    text textrm textbf textit textsf texttt textnormal mbox mathrm mathbf mathit mathsf mathtt mathbb mathcal mathfrak
    mathscr mathnormal boldsymbol pmb rm bf it sf tt cal displaystyle textstyle scriptstyle scriptscriptstyle
    quad qquad enspace thinspace negthinspace space nobreakspace hline hdashline cr nonumber notag
    begin end mathbin mathrel mathop mathord mathopen mathclose mathpunct mathinner
    """.split()
)


def formula(source: str) -> str | None:
    r"""Return the TeX of a formula in a form that MathJax, KaTeX and LaTeX all typeset, or None if it must not be.

    ``source`` is what stands between the delimiters. Displays (``align``, ``gather``, ``equation``) become the forms
    that are allowed inside a display, a tag becomes text, and labels go: a page knows each label only once.
    """
    tex = re.sub(r"\\label\s*\{[^{}]*\}", "", source)
    tex = re.sub(r"\\tag\s*\*?\s*\{([^{}]*)\}", r"\\qquad \\text{(\1)}", tex)
    tex = re.sub(r"\\(begin|end)\s*\{(align|gather)\*?\}", r"\\\1{\2ed}", tex)
    tex = re.sub(r"\\(begin|end)\s*\{(equation|displaymath)\*?\}", "", tex)
    # One blank follows a line break, and no length: JupyterLab's reader of Markdown would mistake the next character.
    tex = re.sub(
        r"(\\\\)\s*(?:\[-?[\d.]+ *[a-z]{2}\]\s*)?|\\.", lambda match: "\\\\ " if match[1] else match[0], tex
    ).strip()
    while tex.endswith("\\\\"):
        tex = tex[:-2].rstrip()
    if not tex or len(tex) > LONGEST:
        return None
    commands = _COMMAND.findall(tex)
    if not all(command in COMMANDS or command in SYMBOLS for command in commands):
        return None
    bare = _COMMAND.sub(" ", tex)  # so that an escaped brace or percent sign does not count
    if "\\" in bare or _NEVER.search(bare) or _COLUMNS.search(tex) or not _balanced(bare):
        return None
    environments = _ENVIRONMENT.findall(tex)
    if len(environments) != commands.count("begin") + commands.count("end"):
        return None
    return tex if _nested(environments) else None


def _balanced(tex: str) -> bool:
    depth = 0
    for brace in re.findall(r"[{}]", tex):
        depth += 1 if brace == "{" else -1
        if not 0 <= depth <= DEEPEST:
            return False
    return depth == 0


def _nested(environments: list[tuple[str, str]]) -> bool:
    still_open: list[str] = []
    for edge, name in environments:
        if name not in ENVIRONMENTS:
            return False
        if edge == "begin":
            still_open.append(name)
            if len(still_open) > DEEPEST:
                return False
        elif not still_open or still_open.pop() != name:
            return False
    return not still_open


def formula_plugin(md: MarkdownIt) -> None:
    r"""Teach a parser ``$…$``, ``$$…$$``, ``\(…\)``, ``\[…\]``, and displays like ``\begin{align}`` that stand alone.

    A formula becomes a token ``formula`` (inline) or ``formula_block``, its TeX in ``content``, "display" or "inline"
    in ``info``. One that must not be typeset becomes code.
    """
    md.inline.ruler.before("escape", "formula", _inline_rule)
    md.block.ruler.before(
        "fence", "formula_block", _block_rule, {"alt": ["paragraph", "reference", "blockquote", "list"]}
    )


def _inline_rule(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] not in "$\\":
        return False
    match = _FORMULA.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    kind = match.lastgroup or ""
    if kind == "dollar" and (_word_before(state) or _AMOUNT.match(match["dollar"])):
        return False
    if not silent:
        tex = _within_sum(formula(match[kind]), state.env)
        token = state.push("formula" if tex else "code_inline", "" if tex else "code", 0)
        token.content = tex or match[0].replace("\n", " ")
        token.info = "inline" if kind in ("dollar", "paren") else "display"
    state.pos = match.end()
    return True


def _word_before(state: StateInline) -> bool:
    before = state.src[state.pos - 1 : state.pos]
    return before.isalnum() or before == "$"


def _block_rule(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    begin = state.bMarks[start_line] + state.tShift[start_line]
    opener = _BLOCK_START.match(state.src, begin)
    if opener is None or state.is_code_block(start_line):
        return False
    closer = f"\\end{{{opener[1]}}}" if opener[1] else {"$$": "$$", "\\[": "\\]"}[opener[0]]
    if state.src.find(closer, opener.end(), begin + LONGEST) < 0:
        return False
    line = start_line
    while closer not in state.src[max(opener.end(), state.bMarks[line]) : state.eMarks[line]]:
        line += 1
        if (
            line >= min(end_line, start_line + MOST_LINES)
            or state.isEmpty(line)
            or state.sCount[line] < state.blkIndent
        ):
            return False
    source = state.getLines(start_line, line + 1, state.blkIndent, False).strip()
    match = _FORMULA.fullmatch(source)
    if match is None and not (opener[1] and source.endswith(closer)):
        return False
    if not silent:
        tex = _within_sum(formula(match[match.lastgroup or ""] if match else source), state.env)
        token = state.push("formula_block" if tex else "code_block", "" if tex else "code", 0)
        token.block = True
        token.content = tex or source + "\n"
        token.info = "display"
        token.map = [start_line, line + 1]
        state.line = line + 1
    return True


def _within_sum(tex: str | None, env: EnvType) -> str | None:
    env["formulas"] = env.get("formulas", 0) + len(tex or "")
    return tex if env["formulas"] <= MOST_IN_ALL else None
