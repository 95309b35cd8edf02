"""Children of a message that XML parsers disagree about."""

ODD = {
    "a space in a namespace": "<x xmlns='my app'/>",
    "a brace in a namespace": "<x xmlns='a}b'/>",
    "a namespace that is not ASCII": "<x xmlns='http://exämple.com/'/>",
    "nesting of 300": "<a>" * 300 + "</a>" * 300,
    "nesting of 50,000": "<a>" * 50_000 + "</a>" * 50_000,
    "a name of 60,000 characters": f"<{'n' * 60_000}/>",
    "an attribute of 500,000 characters": f"<x a='{'v' * 500_000}'/>",
    "an attribute with a namespace": "<x xmlns:p='my app' p:a='1'/>",
    "a prefix": "<p:x xmlns:p='my app'><p:y/></p:x>",
    "character data": "<body><![CDATA[<a>&</a>]]></body>",
    "line ends": "<body>a\r\nb\rc</body>\r\n",
    "a control character": "<body>\x7f\x85</body>",
}
"""Markup that Prosody accepts, and other parsers may not."""

REFUSED = {
    "a name of XML's fifth edition": "<Ͱ/>",
    "a comment": "<!-- -->",
    "a processing instruction": "<?php ?>",
    "an undeclared entity": "&nbsp;",
    "an undeclared prefix": "<p:x/>",
    "a prefix bound to nothing": "<x xmlns:p=''/>",
    "a repeated attribute": "<x a='1' a='2'/>",
    "a repeated attribute by another prefix": "<x xmlns:p='u' xmlns:q='u' p:a='1' q:a='2'/>",
    "a character that XML forbids": "\ufffe",
    "a reference to a character that XML forbids": "&#1;",
    "an open tag": "<body>",
    "two colons": "<a:b:c xmlns:a='1'/>",
}
"""Markup that Prosody refuses, and other parsers may not."""

UNSERIALISABLE = {
    "an attribute in the namespace of XML": "<x xml:foo='1'/>",
    "an element in the namespace of XML": "<xml:x/>",
    "attributes that differ in a line feed": "<x xmlns:p='a&#10;b' xmlns:q='a b' p:z='' q:z=''/>",
}
"""Markup that Prosody accepts, and does not write in a form that any parser accepts."""
