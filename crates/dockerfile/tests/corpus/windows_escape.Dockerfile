# escape=`

FROM mcr.microsoft.com/windows/nanoserver:ltsc2022
COPY testfile.txt C:\\
RUN dir C:\ `
    /b
ENV TOOLS=C:\tools `
    EDITOR=C:\edit
