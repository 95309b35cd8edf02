-- What analysts want to know of messages without reading them.
{bodies};

{traffic}
