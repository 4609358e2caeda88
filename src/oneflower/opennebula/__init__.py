"""OpenNebula: templates and marketplace files, the OneGate client, the appliance's stages, doctor."""
