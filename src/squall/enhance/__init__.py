"""Speech enhancement: estimators of time-frequency masks behind one interface."""
