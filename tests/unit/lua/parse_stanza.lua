-- Feeds stanzas to Prosody's stream parser, a line of base64 each. Answers each with a line: "error", or the number
-- of stanzas, and for a single one its serialisation as Prosody sends it, in base64.

local base64 = require "util.encodings".base64;
local new_stream = require "util.xmppstream".new;

local OPEN = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
local LIMIT = 64 * 1024 * 1024;

local function parse(text)
	local stanzas, broken = {}, false;
	local session = { notopen = true };
	local stream = new_stream(session, {
		default_ns = "jabber:client";
		streamopened = function () session.notopen = nil; end;
		streamclosed = function () broken = true; end;
		handlestanza = function (_, stanza) stanzas[#stanzas + 1] = stanza; end;
		error = function () broken = true; end;
	}, LIMIT);
	assert(stream:feed(OPEN));
	local fed = stream:feed(text);
	return fed and not broken and stanzas;
end

for line in io.lines() do
	local stanzas = parse(base64.decode(line));
	if not stanzas then
		print("error");
	else
		local stanza = #stanzas == 1 and stanzas[1];
		if stanza then stanza.attr.xmlns = stanza.attr.xmlns or "jabber:client"; end
		print(#stanzas, stanza and base64.encode(tostring(stanza)) or "");
	end
	io.flush();
end
