-- Ends with status 0 if a port accepts connections: lua5.4 probe.lua HOST PORT
local socket = require "socket";
os.exit(socket.connect(arg[1], tonumber(arg[2])) ~= nil);
