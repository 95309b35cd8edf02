-- Stanzas: parses single stanzas from text, with a stream parser of its own that is kept from one to the next.
--
-- util.xml.parse costs three times as much, and a broken stanza on a stream breaks this one only.

local new_stream = require "util.xmppstream".new;

local HEADER = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
local MAX_STANZA = 4 * 1024 * 1024;
-- Bytes after which the parser is made anew: expat keeps every name that it has seen.
local MAX_FED = 1024 * 1024;

local parser_mt = {};
parser_mt.__index = parser_mt;

local callbacks = { default_ns = "jabber:client" };

function callbacks.streamopened(self)
	self.notopen = nil;
end

function callbacks.handlestanza(self, stanza)
	self.count, self.stanza = self.count + 1, stanza;
end

function callbacks.streamclosed(self)
	self.broken = true;
end

function callbacks.error(self)
	self.broken = true;
end

function parser_mt:open()
	self.notopen, self.broken, self.fed = true, false, 0;
	self.stream = new_stream(self, callbacks, MAX_STANZA);
	self.stream:feed(HEADER);
end

-- Gives the stanza of a text, or nil if it is not exactly one.
function parser_mt:parse(text)
	if self.fed > MAX_FED then self:open(); end
	self.count, self.stanza, self.fed = 0, nil, self.fed + #text;
	local called, ok = pcall(self.stream.feed, self.stream, text);
	local stanza = self.stanza;
	self.stanza = nil;
	if not (called and ok and self.count == 1) or self.broken then
		self:open();
		return nil;
	end
	-- Of the stream, not of the stanza: answers have none.
	stanza.attr["xml:lang"] = nil;
	return stanza;
end

local function new()
	local parser = setmetatable({}, parser_mt);
	parser:open();
	return parser;
end

return { new = new };
