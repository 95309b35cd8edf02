-- Kinds of content of a stanza, as the bits of Trait in stanzalake/model/traits.py. Most stanzas have a body and nothing
-- else of interest: looking for namespaces finds that out before the tags are taken apart.
toUInt16(
    if({body} != '', 1, 0)
    + if(
        multiSearchAny(stanza, [
            'urn:xmpp:reply:', 'urn:xmpp:reactions:', 'urn:xmpp:message-correct:', 'urn:xmpp:message-retract:',
            '<displayed', '<acknowledged', 'jabber:x:oob', 'urn:xmpp:sims:', 'urn:xmpp:sfs:', 'conversations.axolotl',
            'urn:xmpp:omemo:', 'urn:xmpp:openpgp:', 'jabber:x:encrypted', 'urn:xmpp:mls:', 'urn:xmpp:otr:',
            'urn:xmpp:eme:', '>?OTR'
        ]),
        if(({encryption}) != '', 2, 0)
        + 4 * (
            match(
                concat('<', arrayStringConcat({children}, '<')) AS tags_of_children,
                '<x\\s([^<]*\\s)?xmlns=["'']jabber:x:oob["'']'
            )
            OR match(tags_of_children, '<file-sharing\\s([^<]*\\s)?xmlns=["'']urn:xmpp:sfs:0["'']')
            OR position(stanza, 'urn:xmpp:sims:1') > 0
                AND match(tags_of_children, '<reference\\s([^<]*\\s)?xmlns=["'']urn:xmpp:reference:0["'']')
        )
        + 8 * match(tags_of_children, '<reply\\s([^<]*\\s)?xmlns=["'']urn:xmpp:reply:0["'']')
        + 16 * match(tags_of_children, '<reactions\\s([^<]*\\s)?xmlns=["'']urn:xmpp:reactions:0["'']')
        + 32 * match(tags_of_children, '<replace\\s([^<]*\\s)?xmlns=["'']urn:xmpp:message-correct:0["'']')
        + 64 * match(tags_of_children, '<retract\\s([^<]*\\s)?xmlns=["'']urn:xmpp:message-retract:[01]["'']')
        + 128 * match(tags_of_children, '<(displayed|acknowledged)\\s([^<]*\\s)?xmlns=["'']urn:xmpp:chat-markers:0["'']'),
        0
    )
)
