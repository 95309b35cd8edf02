-- Opens the journals whose directories come in, a line each, and tells of each what can be read from it.
-- Arguments: the module's directory.

local MODULE = ...;
local journals = assert(loadfile(MODULE.."/journal.lib.lua", "t"))();

local function hex(text)
	return (text:gsub(".", function (char) return ("%02x"):format(char:byte()); end));
end

local function tell(...)
	io.write(table.concat({ ... }, " "), "\n");
end

local function read_all(journal, bytes)
	local offset = journal.acked;
	while true do
		local text, behind = journal:read(offset, bytes);
		if not text then
			assert(not behind, behind);
			return;
		end
		tell("read", offset, behind, hex(text));
		offset = behind;
	end
end

local function examine(directory, bytes)
	local journal = journals.open(directory, 50, math.maxinteger);
	tell("open", journal.acked, journal.written);
	read_all(journal, bytes);
	local before = journal.written;
	tell("append", before, (assert(journal:append("a line of after\n"))));
	journal:close();
	journal = journals.open(directory, 50, math.maxinteger);
	tell("again", journal.acked, journal.written);
	read_all(journal, bytes);
	journal:release(journal.written);
	assert(journal:save(0));
end

for line in io.lines() do
	local bytes, directory = line:match("^(%d+) (.*)$");
	local ok, err = pcall(examine, directory, tonumber(bytes));
	tell(ok and "done" or "failed", tostring(err));
	io.flush();
end
