-- Health of a ModelRelease for Argo CD. Healthy: what spec asks for serves. Degraded: somebody has to change something;
-- what served before goes on serving. Suspended: it is paused, or waits for a person or a trainer. Progressing: the rest,
-- a canary on trial included.
local function health(status, message)
  return { status = status, message = message }
end

local status = obj.status
if status == nil or status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "the operator has not answered this spec yet")
end

local said = {}
for _, condition in ipairs(status.conditions) do
  said[condition.type] = condition
end
local function is_true(type)
  return said[type] ~= nil and said[type].status == "True"
end

if is_true("Stalled") then
  return health("Degraded", said.Stalled.message)
end
if is_true("Paused") then
  return health("Suspended", said.Paused.message)
end
if is_true("Ready") then
  return health("Healthy", said.Ready.message)
end

local ready = said.Ready or {}
local is_held = status.phase == "Held"
if status.phase == "Waiting" or ready.reason == "Asleep" or is_held and (ready.reason == "AwaitingApproval" or ready.reason == "Inconclusive") then
  return health("Suspended", ready.message)
end
return health("Progressing", ready.message)
