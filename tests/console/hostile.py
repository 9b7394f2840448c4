"""Texts that would run, or break the page, where somebody took them for markup, code, an address or a style."""

PAYLOADS = (
    "pwned.push({0})",
    "window['pw'+'ned'].push({0})",
    "top.pwned.push({0})",
    "(0,eval)('pwned.push({0})')",
)
TEMPLATES = (
    "<script>{0}</script>",
    "</script><script>{0}</script>",
    '<img src=x onerror="{0}">',
    "<img src=x onerror={0}//",
    '<svg onload="{0}">',
    "<svg><script>{0}</script></svg>",
    '<svg><animate onbegin="{0}" attributeName=x dur=1s>',
    '<math><mtext><img src=x onerror="{0}"></mtext></math>',
    '<iframe srcdoc="<script>parent.{0}</script>"></iframe>',
    '<object data="javascript:{0}"></object>',
    '<embed src="javascript:{0}">',
    '<a href="javascript:{0}">x</a>',
    "javascript:{0}",
    "JaVaScRiPt:{0}",
    "data:text/html,<script>{0}</script>",
    "vbscript:{0}",
    '" autofocus onfocus="{0}" x="',
    "' autofocus onfocus='{0}' x='",
    "`${{{0}}}`",
    "${{{0}}}",
    "{{{{constructor.constructor('{0}')()}}}}",
    '{{"type":"script","props":{{"children":"{0}"}},"constructor":null,"__v":1}}',
    '<style>*{{background:url("javascript:{0}")}}</style>',
    "x;background-image:url(javascript:{0})",
    '<base href="javascript:{0}//">',
    '<meta http-equiv=refresh content="0;url=javascript:{0}">',
    '<link rel=stylesheet href="data:text/css,*{{}}" onload="{0}">',
    '<details open ontoggle="{0}">',
    '<video><source onerror="{0}"></video>',
    '<body onload="{0}">',
    '<input onfocus="{0}" autofocus>',
    '<select onfocus="{0}" autofocus>',
    '<textarea onfocus="{0}" autofocus>',
    '<marquee onstart="{0}">',
    '<form action="javascript:{0}"><button>x</button></form>',
    "<template><script>{0}</script></template>",
    '<noscript><p title="</noscript><img src=x onerror={0}>">',
    "<!--><script>{0}</script>",
    "]]><script>{0}</script>",
    "&lt;script&gt;{0}&lt;/script&gt;",
    "%3Cscript%3E{0}%3C/script%3E",
    "\\u003cscript\\u003e{0}\\u003c/script\\u003e",
    "\u202e>tpircs/<{0}",
    "\u2028{0}\u2029",
    "__proto__ {0}",
    "../../{0}/..",
    "#/rollouts/{0}?q=<b>",
    "\\'; {0}; //",
    "*/ {0} /*",
    "\x01\x1b[31m{0}\x7f",
)


def hostile() -> list[str]:
    """Return 200 of them; each would leave its number in ``window.pwned``."""
    return [
        template.format(payload.format(number * len(PAYLOADS) + index))
        for number, template in enumerate(TEMPLATES)
        for index, payload in enumerate(PAYLOADS)
    ]
