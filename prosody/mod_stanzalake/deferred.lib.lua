-- Deferred content: the content of a message, which is parsed only when somebody looks into it.
--
-- mod_smacks keeps a copy of each stanza until the client has acknowledged it, and sends hardly any again. A copy by
-- util.stanza shares each child that has no name, as it does with texts. So content that has none while it is copied
-- costs neither a parse nor the tables of two stanzas.

local st = require "util.stanza";

local stanzas = module:require "stanzas";

local stanza_mt = st.stanza_mt;

-- The key under which an element has its text.
local TEXT = {};

local deferred_mt = {};
local parser = stanzas.new();
local is_copying = false;

-- Makes an element of a text.
local function parse(element)
	local message = parser:parse("<message>"..element[TEXT].."</message>");
	local parsed = message and #message == 1 and message.tags[1];
	if not parsed then
		module:log("error", "A message of a page is not sent again as it was: Prosody does not take it");
		parsed = st.stanza("result", { xmlns = "urn:xmpp:mam:2" });
	end
	element[TEXT] = nil;
	for key, value in pairs(parsed) do element[key] = value; end
	return setmetatable(element, stanza_mt);
end

function deferred_mt.__index(element, key)
	if is_copying then return nil; end
	return parse(element)[key];
end

function deferred_mt.__len(element)
	return #parse(element);
end

-- Returns a message.
--   content: the text of its only child
local function message(from, to, content)
	local element = setmetatable({ [TEXT] = content }, deferred_mt);
	return setmetatable({ name = "message", attr = { from = from, to = to }, tags = {}, element }, stanza_mt);
end

-- Calls a function that copies stanzas and does not look into them, and returns its result.
local function while_copying(copy, ...)
	is_copying = true;
	local ok, result = pcall(copy, ...);
	is_copying = false;
	if not ok then error(result, 0); end
	return result;
end

-- Lists the content of a copy among its tags, from which it was missing. mod_smacks looks there for a result: any other
-- message that a lost session has not acknowledged is kept offline, or bounces, and rooms expel whom it bounces from.
local function complete(copy)
	local content = copy[1];
	if type(content) == "table" and content ~= copy.tags[1] and content.name then table.insert(copy.tags, 1, content); end
end

module:hook("delivery/failure", function (event) complete(event.stanza); end, 1);

return { message = message, while_copying = while_copying };
