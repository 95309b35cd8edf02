-- The recorder: writes messages and tombstones to the journal as events, and reports and counts those that cannot be.

local event = module:require "event";
local new_throttle = module:require "throttle".new;
local stanzas = module:require "stanzas";

-- Bytes that the stanza of an event, and the whole event, have at most (docs/event.schema.json).
local MAX_STANZA = 1024 * 1024;
local MAX_EVENT = 2 * MAX_STANZA;

local recorder_mt = {};
recorder_mt.__index = recorder_mt;

-- Says once that the journal refuses events, and once that it takes them again.
function recorder_mt:report(trouble)
	if trouble and not self.trouble then
		module:log("error", "Messages are delivered but not archived: %s", trouble);
	elseif self.trouble and not trouble then
		module:log("info", "Messages are archived again");
	end
	self.trouble = trouble;
end

-- Says that a message is too large: that is no trouble of the journal, and users can cause it at will.
function recorder_mt:refuse(owner)
	self.count_drop(1);
	local is_due, left_out = self.is_due();
	if is_due then
		module:log("warn", "A message of %s is delivered but not archived: it is too large "
			.."(%d more since the last such line)", owner, left_out);
	end
	return false;
end

-- Returns whether the line of an event could be written; false is a line that is too long.
function recorder_mt:append(line, owner, position)
	if not line or #line > MAX_EVENT then return self:refuse(owner); end
	local place, trouble = self.journal:append(line);
	self:report(trouble);
	if not place then
		self.count_drop(1);
		return false;
	end
	self.sender:wrote(owner, place, position);
	return true;
end

-- Returns whether the message could be written.
function recorder_mt:write(message, owner)
	local line = #message.stanza <= MAX_STANZA and event.encode(message);
	local is_written = self:append(line, owner, message.position);
	if is_written then self.count(1); end
	return is_written;
end

-- Returns whether the tombstone could be written.
function recorder_mt:write_tombstone(tombstone)
	return self:append(event.encode_tombstone(tombstone), tombstone.owner, tombstone.position);
end

-- Returns the stanza as the archive keeps it. Nil if no parser takes what Prosody writes: it would end the stream of
-- each client that reads it.
function recorder_mt:text_of(stanza, to)
	local attr = stanza.attr;
	local old_xmlns, old_to = attr.xmlns, attr.to;
	attr.xmlns, attr.to = "jabber:client", to;
	local text, is_doubtful = event.text_of(stanza);
	attr.xmlns, attr.to = old_xmlns, old_to;
	if is_doubtful and not self.parser:parse(text) then return nil; end
	return text;
end

local function counter(name, description)
	return module:measure(name, "counter", { description = description });
end

local function new(journal, sender)
	return setmetatable({
		journal = journal, sender = sender, parser = stanzas.new(), is_due = new_throttle();
		count = counter("messages", "Messages written to the journal, once for each owner");
		count_filtered = counter("filtered", "Messages that no archive keeps, by policy, preferences or exclusion");
		count_drop = counter("dropped", "Messages for which the journal had no room, or that were too large");
	}, recorder_mt);
end

return { new = new };
