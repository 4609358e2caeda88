"""Templates, OneGate, and the appliance's configure and bootstrap stages."""
