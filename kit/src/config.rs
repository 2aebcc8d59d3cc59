//! Reading configuration: placeholder until the loader lands.
