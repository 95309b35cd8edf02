-- Feeds stanzas to Prosody's stream parser, a line of base64 each. Answers each with a line: "error", or the number
-- of stanzas, and for a single one its serialisation as Prosody sends it, in base64. Ends with an error if the module's
-- parser does not give the same. Argument: the module's directory.

local MODULE = ...;

local base64 = require "util.encodings".base64;
local new_stream = require "util.xmppstream".new;
local stanzas = dofile(MODULE.."/stanzas.lib.lua");
local own_parser, checker = stanzas.new(), stanzas.new_checker();

local OPEN = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
local LIMIT = 64 * 1024 * 1024;

local function parse(text)
	local found, broken = {}, false;
	local session = { notopen = true };
	local stream = new_stream(session, {
		default_ns = "jabber:client";
		streamopened = function () session.notopen = nil; end;
		streamclosed = function () broken = true; end;
		handlestanza = function (_, stanza) found[#found + 1] = stanza; end;
		error = function () broken = true; end;
	}, LIMIT);
	assert(stream:feed(OPEN));
	local fed = stream:feed(text);
	return fed and not broken and found;
end

local function same(a, b)
	if type(a) == "string" or type(b) == "string" then return a == b; end
	for name, value in pairs(a.attr) do
		if b.attr[name] ~= value then return false; end
	end
	for name in pairs(b.attr) do
		if not a.attr[name] then return false; end
	end
	if a.name ~= b.name or #a ~= #b or #a.tags ~= #b.tags then return false; end
	for i = 1, #a do
		if not same(a[i], b[i]) then return false; end
	end
	return true;
end

-- Whether the module's parser takes the text for the same stanza, or for none where there is not exactly one.
local function is_same(found, text)
	local own, theirs = own_parser:parse(text), found and #found == 1 and found[1];
	if checker:takes(text) then
		local around = parse("<message>"..text.."</message>");
		if not around or #around ~= 1 then return false; end
	end
	if not own or not theirs then return not own and (not theirs or #text > 4 * 1024 * 1024); end
	-- The default of the stream.
	own.attr["xml:lang"] = own.attr["xml:lang"] or "en";
	return same(own, theirs);
end

for line in io.lines() do
	local text = base64.decode(line);
	local found = parse(text);
	assert(is_same(found, text), "the module's parser differs");
	if not found then
		print("error");
	else
		local stanza = #found == 1 and found[1];
		if stanza then stanza.attr.xmlns = stanza.attr.xmlns or "jabber:client"; end
		print(#found, stanza and base64.encode(tostring(stanza)) or "");
	end
	io.flush();
end
