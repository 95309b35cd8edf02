-- The scheme of a stanza's encrypted payload (XEP-0384, 0373, 0027, OTR, MLS; other for a scheme that XEP-0380
-- names); empty without any. A namespace in a text is no payload, so the tags of the children decide.
if(
    multiSearchAny(stanza, [
        'conversations.axolotl', 'urn:xmpp:omemo:', 'urn:xmpp:openpgp:', 'jabber:x:encrypted', 'urn:xmpp:mls:',
        'urn:xmpp:otr:', 'urn:xmpp:eme:', '>?OTR'
    ]),
    multiIf(
        match(
            arrayStringConcat({children}, '\n') AS payloads,
            '\\sxmlns=["''](eu\\.siacs\\.conversations\\.axolotl|urn:xmpp:omemo:\\w+)["'']'
        ), 'omemo',
        match(payloads, '\\sxmlns=["'']urn:xmpp:openpgp:\\w+["'']'), 'openpgp',
        match(payloads, '\\sxmlns=["'']jabber:x:encrypted["'']'), 'pgp',
        match(payloads, '\\sxmlns=["'']urn:xmpp:mls:\\w+["'']'), 'mls',
        match(payloads, '\\sxmlns=["'']urn:xmpp:otr:\\w+["'']') OR startsWith({body}, '?OTR'), 'otr',
        match(payloads, '\\sxmlns=["'']urn:xmpp:eme:\\w+["'']'), 'other',
        ''
    ),
    ''
)
