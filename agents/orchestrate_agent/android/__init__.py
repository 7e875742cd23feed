"""Trials on an Android device, through the ``adb`` of this machine."""
