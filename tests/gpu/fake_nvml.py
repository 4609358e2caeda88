# ruff: noqa: N801, N802, N815, N818 - the names are NVML's
"""Plays NVML: recorded answers of cards, in the shapes of nvidia-ml-py's structures."""

from types import SimpleNamespace

UUID = "GPU-5c8a2a5e-8b63-4f3c-9c1b-1f6f3a7f1e20"
MIG = "MIG-0b9fa5ba-3cf0-5a53-8a26-8b8d1c2f6a11"
H200 = {
    "uuid": UUID,
    "name": "NVIDIA H200",
    "utilisation": [97, 91],
    "memory": [(31_457_280_000, 150_754_820_096), (62_914_560_000, 150_754_820_096)],
    "temperature": [61, 64],
    "power": [512_340, 498_120],  # mW
    "ecc": [0, 0],
}
# A consumer's card counts no memory errors; in a virtual machine it may not say its power either.
RTX = {
    "uuid": "GPU-11111111-2222-3333-4444-555555555555",
    "name": "NVIDIA GeForce RTX 3060",
    "utilisation": [40],
    "memory": [(4_294_967_296, 12_884_901_888)],
    "temperature": [55],
}
# Of a MIG instance NVML says the memory alone.
INSTANCE = {
    "uuid": MIG,
    "name": "NVIDIA H200 MIG 1g.18gb",
    "memory": [(1_073_741_824, 18_790_481_920)],
    "parent": 0,
    "instance": 7,
}


class NVMLError(Exception):
    """As NVML's."""


class NVMLError_NotSupported(NVMLError):
    """As NVML's."""


class NVMLError_Timeout(NVMLError):
    """As NVML's."""


class FakeNvml:
    """A module `pynvml` with some cards; each answer of a list is given once, the last one for ever."""

    nvmlEventTypeXidCriticalError = 8
    NVML_TEMPERATURE_GPU = 0
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    NVML_VOLATILE_ECC = 0

    def __init__(self, *cards, instances=(), xids=(), driver=True):
        self.cards = [dict(card) for card in cards]
        self.instances = [dict(each) for each in instances]
        self.xids = list(xids)
        self.driver = driver
        self.opened = self.event_sets = 0

    def nvmlInit(self):
        if not self.driver:
            raise NVMLError("Driver Not Loaded")
        self.opened += 1

    def nvmlShutdown(self):
        self.opened -= 1

    def nvmlDeviceGetCount(self):
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index):
        if not 0 <= index < len(self.cards):
            raise NVMLError("Invalid Argument")
        return self.cards[index]

    def nvmlDeviceGetHandleByUUID(self, uuid):
        found = [each for each in (*self.cards, *self.instances) if each["uuid"] == uuid]
        if not found:
            raise NVMLError("Not Found")
        return found[0]

    def nvmlDeviceIsMigDeviceHandle(self, handle):
        return int("parent" in handle)

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle):
        return self.cards[handle["parent"]]

    def nvmlDeviceGetGpuInstanceId(self, handle):
        return handle["instance"]

    def nvmlDeviceGetIndex(self, handle):
        return self.cards.index(handle)

    def nvmlDeviceGetUUID(self, handle):
        return handle["uuid"]

    def nvmlDeviceGetName(self, handle):
        return handle["name"]

    def nvmlDeviceGetUtilizationRates(self, handle):
        return SimpleNamespace(gpu=self._answer(handle, "utilisation"), memory=30)

    def nvmlDeviceGetMemoryInfo(self, handle):
        used, total = self._answer(handle, "memory")
        return SimpleNamespace(total=total, used=used, free=total - used)

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return self._answer(handle, "temperature")

    def nvmlDeviceGetPowerUsage(self, handle):
        return self._answer(handle, "power")

    def nvmlDeviceGetTotalEccErrors(self, handle, kind, counter):
        return self._answer(handle, "ecc")

    def nvmlEventSetCreate(self):
        self.event_sets += 1
        return {"of": None}

    def nvmlDeviceRegisterEvents(self, handle, types, events):
        events["of"] = handle["uuid"]

    def nvmlEventSetWait_v2(self, events, timeout_ms):
        for each in self.xids:
            if each[0] == events["of"]:
                self.xids.remove(each)
                return SimpleNamespace(eventType=8, eventData=each[1], device=None)
        raise NVMLError_Timeout("Timeout")

    def nvmlEventSetFree(self, events):
        self.event_sets -= 1

    def _answer(self, handle, what):
        answers = handle.get(what)
        if not answers:
            raise NVMLError_NotSupported("Not Supported")
        return answers[0] if len(answers) == 1 else handle.__setitem__(what, answers[1:]) or answers[0]
