-- The id attribute of a stanza; empty if there is none.
decodeXMLComponent(
    arrayStringConcat(extractGroups(extract(stanza, '^[^>]*'), '\\sid=(?:"([^"]*)"|''([^'']*)'')'))
)
