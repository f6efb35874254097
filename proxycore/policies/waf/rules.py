"""The rules: what attacks look like once they are normalised, and what honest texts don't.

Ids are those of the OWASP Core Rule Set where a rule looks for the same thing, so that its documentation and people's
lists of exclusions apply; no pattern is theirs. `level` is the paranoia from which a rule holds, `score` what it adds
to a request's anomaly. Patterns are searched in the lower-case `form` of a value, and repeats are bounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Form = Literal["text", "sql", "shell"]
Place = Literal["path", "query", "header", "agent", "cookie", "body"]

_VALUES: frozenset[Place] = frozenset(("path", "query", "header", "cookie", "body"))
_IN_HEADS: frozenset[Place] = frozenset(("path", "query", "header", "cookie"))
_PATH: frozenset[Place] = frozenset(("path",))
_AGENT: frozenset[Place] = frozenset(("agent",))

CRITICAL = 5
WARNING = 3


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `needs` are signs of which a value must have one, a cheap test before the pattern; empty: none."""

    id: str
    name: str
    pattern: re.Pattern[str]
    form: Form = "text"
    needs: str = ""
    places: frozenset[Place] = _VALUES
    level: int = 1
    score: int = CRITICAL


def _rule(
    id: str,
    name: str,
    *patterns: str,
    form: Form = "text",
    needs: str = "",
    places: frozenset[Place] = _VALUES,
    level: int = 1,
    score: int = CRITICAL,
) -> Rule:
    pattern = re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.DOTALL)
    return Rule(id, name, pattern, form, needs, places, level, score)


# ---- pieces

_QUOTE = "['\"`\u2018\u2019]"
_CONNECTIVE = r"(?:\bor\b|\band\b|\bxor\b|\|\||&&)"
_COMPARISON = r"(?:=|<>|<|>|!=|\blike\b|\brlike\b|\bregexp\b|\bis\b|\bin\s*\(|\bbetween\b)"
_EVENT = (
    r"on(?:abort|activate|animation\w{0,9}|auxclick|before\w{1,12}|begin|blur|cancel|canplay\w{0,7}|change|click|close|contextmenu|"
    r"copy|cut|dblclick|drag\w{0,5}|drop|end|ended|error|finish|focus\w{0,3}|formdata|hashchange|input|invalid|key\w{2,5}|"
    r"load\w{0,8}|message\w{0,5}|mouse\w{2,5}|paste|pagehide|pageshow|pointer\w{1,12}|play\w{0,3}|popstate|progress|repeat|reset|"
    r"resize|scroll\w{0,3}|search|seek\w{2,3}|select\w{0,6}|show|start|storage|submit|suspend|toggle|touch\w{2,6}|"
    r"transition\w{2,6}|unload|volumechange|wheel)"
)
# Words that are commands and little else, and such as stand in ordinary texts: those need more to be suspected.
_COMMAND = (
    r"(?:wget|curl|ncat|netcat|nc|bash|zsh|ksh|csh|tcsh|dash|sh|python[23]?|perl|ruby|whoami|uname|nslookup|ifconfig|ipconfig|"
    r"netstat|systeminfo|tasklist|certutil|wmic|powershell(?:\.exe)?|pwsh|cmd(?:\.exe)?|chmod|chown|printenv|mkfifo|socat|sudo|crontab|"
    r"telnet|scp|tftp|xxd|ls|ping|rm|traceroute|busybox|lsof)"
)
_WORD = (
    r"(?:cat|id|more|less|head|tail|find|sleep|touch|kill|net|type|dir|echo|php|ip|ps|env|sort|grep|awk|sed|tee|cp|mv|su|dig|ssh|ftp|"
    r"base64|reg|set|copy|del|w|who|pwd|hostname|date|df|mount|timeout)"
)
_BIN = r"(?:/(?:usr/)?(?:local/)?s?bin/)?"

RULES: tuple[Rule, ...] = (
    # ---- who asks
    _rule(
        "913100",
        "security scanner",
        r"\b(?:sqlmap|nikto|nmap|masscan|zgrab|nessus|openvas|acunetix|netsparker|invicti|wpscan|dirbuster|gobuster|feroxbuster|ffuf|wfuzz|"
        r"nuclei|arachni|w3af|skipfish|havij|burp ?suite|burpcollaborator|appscan|webinspect|qualys|jorgee|whatweb|commix|xsser|dirb\b|"
        r"fimap|joomscan|sqlninja|hydra|metasploit|jaeles|zmeu|morfeus|zaproxy|owasp zap|paros)",
        places=_AGENT,
    ),
    # ---- protocol
    _rule("920270", "NUL in a value", r"\x00", needs="\x00"),
    _rule(
        "921120",
        "response splitting",
        r"(?:[\r\n]|\\r|\\n)\s?(?:set-cookie|location|content-(?:type|length)|transfer-encoding|refresh|host|x-[\w-]{1,30})\s*:",
        r"[\r\n]+\s*http/\d",
        needs="\r\n\\",
        places=_IN_HEADS,
    ),
    # ---- files
    _rule(
        "930110",
        "path traversal",
        r"\.\.[/\\]",
        r"[/\\]\.\.(?:;|$)",
        r"\.\.;[/\\]",
        r"\.{3,}[/\\]{1,4}",
        needs="/\\",
    ),
    _rule(
        "930120",
        "file of the system",
        r"(?:^|[/\\:'\"=\s(])etc[/\\]{1,3}(?:passwd|shadow|hosts|group|issue|crontab|ssh|sudoers|nginx|apache2|httpd|mysql|my\.cnf)",
        r"(?:^|[/\\])proc[/\\](?:self|version|cpuinfo|\d+)\b",
        r"[/\\]var[/\\]log[/\\]",
        r"\bwindows[/\\]{1,2}(?:win\.ini|system32|system\.ini|repair)|\bwinnt[/\\]|\bboot\.ini\b|[/\\]inetpub[/\\]",
        r"[/\\]\.(?:ssh|aws|kube|docker|bash_history|htaccess|htpasswd)\b|\bid_(?:rsa|ed25519)\b|\bweb-inf[/\\]|\bwp-config\.php",
        needs="/\\._",
    ),
    _rule(
        "930130",
        "file that is nobody's to ask for",
        r"/\.(?:git|svn|hg|bzr|env|aws|ssh|docker|dockerenv|kube|htaccess|htpasswd|ds_store|npmrc|pypirc|bash_history|vscode|idea|terraform)"
        r"(?:[/.]|$)",
        r"\.(?:bak|sql|old|swp|swo|orig|save|sqlite3?|mdb|dump|pem|key|pfx|p12|kdbx|tfstate)(?:\.gz|\.zip)?$",
        r"\.(?:php|asp|jsp|conf|config|ini|yml)~$",
        r"/(?:server-status|server-info|phpmyadmin|wp-config\.php|web\.config|phpinfo\.php|elmah\.axd|trace\.axd)\b",
        r"/actuator/(?:env|heapdump|threaddump|jolokia|gateway)|/(?:etc|proc|cgi-bin/\.)/",
        places=_PATH,
    ),
    # ---- places elsewhere
    _rule(
        "931100",
        "remote file or server-side request",
        r"\b(?:php|expect|phar|zip|rar|compress\.(?:zlib|bzip2)|glob|ogg|ssh2|gopher|dict|ldaps?|tftp|jar|netdoc)://",
        r"\bfile:/{1,3}(?:[a-z]:|etc|proc|var|home|root|windows|\w+/)",
        r"\bdata:text/(?:html|plain|javascript)|\bdata:[\w/+.-]{0,40};base64,(?:pd9w|phnj|pd94)",
        r"https?://(?:169\.254\.\d|metadata\.google|100\.100\.100\.200|\[::ffff:|\[fd00:ec2|0x[0-9a-f]{6}|\d{8,10}(?:[/:?]|$))",
        r"^(?:https?|ftps?)://\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}[^?]{0,200}\.(?:php|txt|sh|asp|aspx|jsp|cgi|pl|py|exe|dll|inc)\b",
        r"(?:https?|ftps?)://[^\s?]{1,200}/(?:c99|r57|b374k|wso|shell|cmd|backdoor|webshell)\w{0,8}\.\w{2,4}",
        r"^(?:https?|ftps?)://[^\s?]{1,200}\.(?:php|txt|inc|dat|cgi)\?{1,2}$",
        needs=":",
    ),
    # ---- commands
    _rule(
        "932100",
        "command injection",
        rf"[;|&\n]\s*{_BIN}{_COMMAND}\b(?:\s+[-/.$~\w'\"<>|:]|\s*[;|&)`<>]|\s*$)",
        rf"[;|&\n]\s*{_BIN}{_WORD}\s+(?:-{{1,2}}\w|/|\$|~|\.{{1,2}}/|[a-z]:[/\\]|<|>)",
        rf"(?:^|\w)[;|\n]+{_BIN}{_WORD}\s*(?:[;|&#]|$)",
        rf"^\s*[;|&\n]+\s*{_BIN}{_WORD}\s*(?:$|[;|&])",
        r"[;|&\n]\s*net\s+(?:user|localgroup|share|view|start|stop)\b",
        rf"\$\(\s*{_BIN}(?:{_COMMAND}|{_WORD})\b[^)]{{0,200}}\)",
        rf"`\s*{_BIN}(?:{_COMMAND}\b|{_WORD}\s+[-/\d.]|id|pwd)[^`]{{0,200}}`",
        form="shell",
        needs=";|&\n$`",
    ),
    _rule(
        "932160",
        "shell at work",
        r"/(?:bin|usr/bin|sbin)/(?:ba|z|k|c|da)?sh\b|/dev/(?:tcp|udp)/|\bnc(?:\.exe)?\s+-\w{0,4}[el]|\bbash\s+-[ic]\b",
        r"\bcmd(?:\.exe)?\s*/[ck]\b|\bpowershell(?:\.exe)?\s+-\w|\biex\s*\(|\bnew-object\s+net\.",
        r"\brm\s+-[rf]{1,2}\s+[/~*.]|\b(?:wget|curl)\s+(?:-\S{1,30}\s+){0,4}['\"]?(?:https?|ftp):.{1,200}(?:\||-o\b|;)",
        r"\b(?:os|subprocess)\.(?:system|popen|call|run)\s*\(|^\s*(?:cat|ls|head|tail|less|more)\s+/(?:etc|proc|var|root|home)\b",
        form="shell",
    ),
    _rule("932170", "Shellshock", r"^\s*\(\s*\)\s*\{", needs="{"),
    # ---- code of servers
    _rule(
        "933100",
        "code of a page",
        r"<\?(?:php|=|\s)",
        r"<%[=@!\s]",
        r"<!--\s*#\s*(?:exec|include|echo|printenv|set)",
        needs="<",
    ),
    _rule(
        "933160",
        "call of PHP",
        r"\bphpinfo\s*\(",
        r"\b(?:passthru|shell_exec|proc_open|popen|pcntl_exec|base64_decode|gzinflate|str_rot13|call_user_func(?:_array)?|create_function|"
        r"file_get_contents|file_put_contents|move_uploaded_file|assert|eval|system|exec)\s*\(\s*[$'\"`]",
        r"\$_(?:get|post|request|cookie|server|files|session|env)\b|\$globals\b",
        needs="($",
    ),
    _rule(
        "933170",
        "serialised object",
        r"\b[oc]:\d{1,5}:\"[^\"]{1,100}\":\d{1,5}:\{",
        r"\ba:\d{1,5}:\{[is]:",
        r"^ro0ab[a-z0-9]|^\xac\xed|^aced0005|\bsubprocess\n",
    ),
    _rule(
        "934100",
        "injection into JavaScript",
        r"\bchild_process\b|\bprocess\s*\.\s*(?:mainmodule|binding|env)\b|\brequire\s*\(\s*['\"](?:fs|vm|net|os|http)['\"]\s*\)\s*\.",
        r"__proto__|\bconstructor\s*(?:\.|\[\s*['\"]?)\s*prototype\b",
    ),
    _rule(
        "934110",
        "injection into a template",
        r"\{\{[^{]{0,120}?(?:\d\s*\*\s*['\"]?\d|__|\bconfig\b|\bself\.|\brequest\.|constructor|popen|_self\b|\|\s*(?:attr|map|filter|join)\b|import)",
        r"\$\{\{?[^${]{0,60}?(?:\d\s*\*\s*\d|\bt\(|<%|getruntime|class\.|\bexec\()",
        r"[#*@]\{[^{]{0,40}?(?:\d\s*\*\s*\d|\bt\(|java)",
        r"\{%[^{]{0,60}?(?:import|for\s|if\s|set\s|include|debug)",
        r"%\{.{0,20}?\(?#",
        needs="{",
    ),
    _rule(
        "942290",
        "injection into a NoSQL query",
        r"\[\s*\$(?:ne|eq|gte?|lte?|n?in|regex|where|exists|or|and|not|size|type)\s*\]",
        r"['\"]\$(?:ne|eq|gte?|lte?|n?in|regex|where|exists|or|and|not|func)['\"]\s*:",
        r"^\$(?:ne|eq|gte?|lte?|n?in|regex|where|exists|func|or|and|not)$",
        r"(?:^|[,{;&\s])\$(?:ne|gte?|lte?|n?in|regex|where|exists|or|and)\b\s*[:=]",
        r"\bdb\.\w{1,40}\.(?:find|insert|remove|drop|update|aggregate|mapreduce|count)\w{0,6}\s*\(",
        rf"{_QUOTE}\s*(?:\|\||&&|;)\s*(?:{_QUOTE}?\w*{_QUOTE}?\s*={{2,3}}|return\b|sleep\(|while\s*\(|var\s|this\.|db\.)",
        r"\bthis\.\w{1,40}\s*(?:\.match\(|==|!=)",
        needs="$.|&;",
    ),
    _rule(
        "921200",
        "injection into LDAP",
        r"\*\s*\)+\s*\(+\s*[|&!\w]",
        r"\)\s*\(\s*[|&!]",
        r"\(\s*[|&]\s*\(",
        r"\)\s*\(\s*(?:uid|cn|sn|mail|objectclass|userpassword|samaccountname|ou|dc|givenname|memberof)\s*[~<>]?=",
        r"^\(?(?:objectclass|userpassword|uid|cn)=\*",
        needs="(=",
    ),
    _rule(
        "921140",
        "injection into mail",
        r"[\r\n]+\s*(?:bcc|cc|to|from|reply-to|subject|mail from|rcpt to|data|ehlo|helo|quit|vrfy|mime-version)\s*[:<\r\n]",
        r"[\r\n]+\s*\w{1,8}\s+(?:select|fetch|login|logout|capability|create|delete|list|store|search|examine)\b",
        needs="\r\n",
        places=_IN_HEADS,
    ),
    _rule(
        "944150",
        "look-up of Log4j",
        r"\$\{\s*(?:\$\{|jndi:|env:|sys:|lower:|upper:|::-|java:|ctx:|date:|main:)",
        r"\bjndi:(?:ldaps?|rmi|dns|iiop|corba|nis|nds|https?):",
        needs=":",
    ),
    _rule(
        "944100",
        "injection into Java",
        r"\bjava\.(?:lang|io|util|net)\.\w|\bgetruntime\s*\(|\bprocessbuilder\b|\bclass\.module\.classloader\b|\bclassloader\.\w|"
        r"#_memberaccess|\bognl\b|@java\.|\bfreemarker\.template\b|\bjavax\.(?:script|naming)\b",
        needs=".#",
    ),
    _rule(
        "944300",
        "external entity of XML",
        r"<!entity\b|<!doctype[^>]{0,200}\[|<xi:include\b|<!element\b|<\?xml-stylesheet",
        needs="<",
    ),
    # ---- scripts
    _rule("941110", "script element", r"<\s*/?\s*script\b", needs="<"),
    _rule(
        "941120", "event handler", rf"[\s\"'`/\x0b\x0c]{_EVENT}\s*=", rf"^{_EVENT}\s*=\s*['\"\w]{{1,30}}\(", needs="="
    ),
    _rule(
        "941130",
        "attribute that runs",
        r"\bsrcdoc\s*=|\bxlink:href\s*=|\bformaction\s*=|\bstyle\s*=\s*['\"]?[^'\">]{0,100}(?:expression\s*\(|url\s*\(\s*['\"]?\s*javascript)",
        needs="=",
    ),
    _rule(
        "941170",
        "address that runs",
        r"(?:j\s?a\s?v\s?a|v\s?b|l\s?i\s?v\s?e)\s?s\s?c\s?r\s?i\s?p\s?t\s*:[^\s]",
        needs=":",
    ),
    _rule(
        "941160",
        "element that loads or runs",
        r"<\s*(?:iframe|object|embed|applet|meta|base|svg|math|link|bgsound|frameset|frame|style|isindex|noscript|template|layer|xml)\b[\s/>]",
        needs="<",
    ),
    _rule(
        "941180",
        "reach of a script",
        r"\bdocument\s*\.\s*(?:cookie|write(?:ln)?|domain|location)\b|\bwindow\s*\.\s*(?:location|name)\s*[=\[]",
        r"\bstring\s*\.\s*fromcharcode\s*\(|\beval\s*\(\s*(?:atob|string|location|name|unescape)\b|\blocalstorage\s*\.\s*getitem\s*\(",
        r"['\"`;)]\s*[-+*/,;^]\s*(?:alert|confirm|prompt|eval|fetch)\s*[(`]|^(?:alert|confirm|prompt)\s*[(`]",
        r"@import\s*['\"]?\s*(?:url|javascript|data|//)",
    ),
    # ---- SQL
    _rule(
        "942100",
        "SQL that is always true",
        rf"{_QUOTE}\s*\)*\s*{_CONNECTIVE}\s*\(*\s*(?:not\s*)?{_QUOTE}?[\w.]*{_QUOTE}?\s*\)*\s*{_COMPARISON}",
        rf"{_QUOTE}\s*\)*\s*{_CONNECTIVE}\s*\(*\s*(?:\w+\(|\(?\s*select\b|true\b|false\b|\d+\s*(?:--|#|$))",
        rf"^\s*-?\d+{_QUOTE}?\s*\)*\s*{_CONNECTIVE}\s*\(*\s*(?:not\s+)?(?:{_QUOTE}?-?\w+{_QUOTE}?\s*\)*\s*(?:=|<|>|\blike\b|\bis\b|\bin\s*\()"
        r"|true\b|false\b|\w+\(|\(?\s*select\b|exists\b)",
        rf"{_QUOTE}\s*\)+\s*{_CONNECTIVE}\s*\(+",
        rf"{_QUOTE}\s*\|\|\s*(?:{_QUOTE}|\(|\w+[.(])|{_QUOTE}\s*\+\s*\(?\s*(?:select|char\()",
        form="sql",
    ),
    _rule(
        "942190",
        "SQL that reads",
        r"\bunion\s*(?:all|distinct)?\s*\(*\s*select\b",
        r"\bselect\b[\s(]*(?:\*|@@|count\s*\(|group_concat|concat\s*\(|version\s*\(|user\s*\(|database\s*\(|sleep\s*\(|char\s*\(|null\s*,|\d+\s*,)",
        r"\bselect\b.{1,100}?\bfrom\s+[\w.`\"(]{1,60}\s?(?:\bwhere\s+[\w.'\"]+\s*(?:=|<|>|like\b|in\b)|\blimit\s+\d|--|\binformation_schema|\bpg_)",
        r"\(\s*select\s+[\w*(@`'\",. ]{1,80}\s+from\s+\w+",
        r"\binformation_schema\b|\bpg_catalog\b|\bsys(?:objects|columns|databases)\b|\bsqlite_master\b|\ball_tables\b",
        form="sql",
    ),
    _rule(
        "942160",
        "function of SQL",
        r"\b(?:sleep|benchmark)\s?\(\s*[\d(]+\s*[,)]|\bpg_sleep\s*\(|\bload_file\s*\(|\bextractvalue\s*\(|\bupdatexml\s*\(|\bxp_\w{3,20}\b",
        r"\bgroup_concat\s*\(|\bprocedure\s+analyse\b|\binto\s+(?:out|dump)file\b|\bwaitfor\s+(?:delay|time)\b|\bsysdate\s*\(\s*\)|@@\w{4,}",
        r"\bdbms_\w{3,20}\.|\butl_(?:http|inaddr|file)\b|\bsp_(?:executesql|oacreate|password)\b|\bascii\s*\(\s*substr|\bsubstring\s*\(\s*\(?\s*select\b",
        form="sql",
    ),
    _rule(
        "942350",
        "SQL that changes",
        r";\s*(?:drop|alter|create|truncate)\s+(?:table|database|schema|user|view|procedure|function|index)\b",
        r";\s*(?:insert\s+into|update\s+\w+\s+set|delete\s+from|exec(?:ute)?\s+\w|declare\s+@|grant\s+\w|merge\s+into|select\s+[\w*(@'])",
        r";\s*shutdown\b|\binsert\s+into\s+\w+\s*(?:\([\w, `]+\)\s*)?values\s*\(|\bupdate\s+\w+\s+set\s+\w+\s*=.{1,100}\bwhere\b",
        r"\bdelete\s+from\s+\w+\s+where\s+\w+\s*(?:=|<|>|like\b)",
        form="sql",
    ),
    _rule(
        "942440",
        "SQL that ends early",
        rf"{_QUOTE}\s*\)*\s*;?\s*(?:--\s*[-+]?\s*\w{{0,2}}\s*$|#\s*$|;\s*$|/\*\s*$)",
        rf"(?:^-?\d+|{_QUOTE}|\))\s*order\s+by\s+\d+|{_QUOTE}\s*\)*\s*(?:having|group\s+by)\s+[\w'\"(]+\s*(?:=|<|>|\(|--)",
        r"^-?\d+\s*(?:--|#)\s*$|^-?\d+\s*\)*\s*having\s+\d+\s*=",
        form="sql",
    ),
    # ---- higher levels: they err more
    _rule("941320", "element of HTML", r"<\s*/?\s*[a-z!][\w:-]*[\s/>]", needs="<", level=2),
    _rule(
        "942120",
        "operator of SQL after a quote",
        rf"{_QUOTE}\s*(?:=|<|>|!|\bin\b|\blike\b|\bis\b|\+|\|\|)",
        form="sql",
        level=2,
    ),
    _rule("932236", "command at the start", rf"^\s*{_BIN}(?:{_COMMAND}|{_WORD})\s+[-/]", form="shell", level=2),
    _rule("931130", "address of another site", r"^(?:https?|ftps?)://", needs=":", level=3, score=WARNING),
    _rule(
        "942200",
        "words of SQL",
        r"\b(?:select|insert|update|delete|union|drop|having)\b.{1,80}\b(?:from|into|set|select|table)\b",
        form="sql",
        level=3,
    ),
    _rule(
        "942430",
        "many signs",
        r"(?:[~!@#$%^&*()+={}\[\]|:;\"'`<>\\][^~!@#$%^&*()+={}\[\]|:;\"'`<>\\]{0,8}){12}",
        level=3,
        score=WARNING,
    ),
    _rule("942460", "signs in a row", r"[^\w\s]{4}", level=4, score=WARNING),
    _rule("920272", "sign that few values have", r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f`<>|\\^{}]", level=4, score=WARNING),
)

TOO_MUCH = Rule("920390", "more to read than a request may hold", re.compile(""))
"""Found by the inspection itself: with it excluded, what lies beyond the budget of a request isn't read."""
