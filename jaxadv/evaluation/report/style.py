"""How the page looks: on a screen, on a phone, in the dark, on paper."""

# Colors of text have a contrast of 4.5 or more on what they stand on (a test).
COLORS = {
    "light": {
        "page": "#ffffff",
        "text": "#222222",
        "quiet": "#5a5a5a",
        "line": "#dddddd",
        "code": "#f3f3f3",
        "link": "#0b57d0",
        "good": "#00694b",
        "good-back": "#e6f4ee",
        "doubt": "#7a4f00",
        "bad": "#b3261e",
        "bad-back": "#fbe9e7",
        "none-back": "#f3f3f3",
    },
    "dark": {
        "page": "#16181b",
        "text": "#e4e4e4",
        "quiet": "#a8a8a8",
        "line": "#3a3d42",
        "code": "#26292e",
        "link": "#8ab4f8",
        "good": "#63d2a2",
        "good-back": "#12291f",
        "doubt": "#f0b95a",
        "bad": "#ff9086",
        "bad-back": "#351a18",
        "none-back": "#26292e",
    },
}


def _variables(scheme):
    return " ".join(f"--{name}: {color};" for name, color in COLORS[scheme].items())


STYLE = f"""
:root {{ color-scheme: light dark; {_variables("light")} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_variables("dark")} }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: var(--page); color: var(--text);
       font: 16px/1.5 system-ui, sans-serif; -webkit-text-size-adjust: 100%; }}
main {{ max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }}
h1, h2, p, li {{ overflow-wrap: anywhere; }}
h1 {{ font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; }}
h2 {{ font-size: 1.2rem; margin: 2.2rem 0 0.6rem; }}
p, li {{ max-width: 46rem; }}
ul {{ padding-left: 1.2rem; }}
a {{ color: var(--link); }}
code {{ background: var(--code); padding: 0 0.2rem; border-radius: 0.2rem;
       font-size: 0.92em; overflow-wrap: anywhere; }}
.scroll, .picture {{ max-width: 100%; margin: 0.8rem 0; }}
.scroll {{ background: linear-gradient(to left, var(--page) 30%, transparent) 100% 0 /
    2.5rem 100% no-repeat local, linear-gradient(to left, var(--line), transparent)
    100% 0 / 0.9rem 100% no-repeat scroll; }}
table {{ border-collapse: collapse; font-size: 0.92rem; }}
th, td {{ border-bottom: 1px solid var(--line); padding: 0.3rem 0.7rem;
         vertical-align: top; text-align: left; overflow-wrap: anywhere;
         min-width: 4rem; }}
th {{ vertical-align: bottom; overflow-wrap: normal; }}
th[style], td[style] {{ white-space: nowrap; min-width: 0; }}
td:not([style]) {{ max-width: 34rem; }}
td:nth-child(n+2):not([style]):not([class]) {{ min-width: 8rem; }}
td:nth-child(n+3):not([style]):not([class]) {{ min-width: 12rem; }}
td[class] {{ min-width: 0; white-space: nowrap; }}
th:first-child:has(+ [style]), td:first-child:has(+ [style]) {{ min-width: 11rem; }}
tr:target, tr:has(:target) {{ background: var(--code); }}
td a[id] {{ scroll-margin-top: 1rem; }}
img {{ max-width: 100%; background: #ffffff; border-radius: 0.3rem; }}
.headline {{ border-left: 0.4rem solid; border-radius: 0.2rem; max-width: none;
            padding: 0.7rem 1rem; font-size: 1.25rem; line-height: 1.4; }}
.sound {{ color: var(--good); background: var(--good-back); }}
.unsound {{ color: var(--bad); background: var(--bad-back); }}
.unchecked {{ color: var(--quiet); background: var(--none-back); }}
.ok, .warn, .fail {{ font-weight: 600; }}
.ok {{ color: var(--good); }}
.warn {{ color: var(--doubt); }}
.fail {{ color: var(--bad); }}
.skipped {{ color: var(--quiet); }}
@media (max-width: 40rem) {{
  .headline {{ font-size: 1.1rem; }}
  table th:first-child, table td:first-child {{ position: sticky; left: 0;
    background: var(--page); white-space: normal; }}
  th:first-child:has(+ [style]), td:first-child:has(+ [style]) {{ min-width: 8rem; }}
  .picture img {{ max-width: none; width: 40rem; }}
}}
@media print {{ .scroll, .picture {{ overflow: visible !important; }} }}
"""
